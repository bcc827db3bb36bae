/**
 * `deno task demo`: set-up, build, then the demo from source, which execs `dist/flock` as a container
 * runtime would. In one process, so that a Ctrl-C reaches the demo's own handler and nobody else's.
 *
 * @module
 */
import { build } from "./build.ts";
import { ROOT } from "./run.ts";
import { setUp } from "./setup.ts";

const rest = Deno.args.filter((arg) => arg !== "--no-install");
const status = await setUp("demo", { install: rest.length === Deno.args.length });
if (status !== 0) Deno.exit(status);
await build();
Deno.env.set("FLOCK_EXECUTABLE", `${ROOT}/dist/flock`);
// Only now, so that a machine without the tools hears of it before anything else is loaded.
const { main } = await import("../src/cli/main.ts");
Deno.exit(await main(["demo", ...rest]));
