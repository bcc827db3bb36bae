/**
 * `deno task demo`: set-up, build, then the demo from source, which execs `dist/flock` as a container
 * runtime would. In one process, so that a Ctrl-C reaches the demo's own handler and nobody else's.
 *
 * @module
 */
import { build } from "./build.ts";
import { requireKnown } from "./options.ts";
import { ROOT } from "./run.ts";
import { setUp } from "./setup.ts";

requireKnown(Deno.args, ["--no-install"]);

const status = await setUp("demo", { install: Deno.args.length === 0 });
if (status !== 0) Deno.exit(status);
await build();

// Only now, so that a machine without the tools hears of it before anything else is loaded.
const { demo } = await import("../src/cli/demo.ts");
const { configureLog } = await import("../src/log.ts");
const colour = Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR");
configureLog({ level: "info", format: "text", colour });
Deno.exit(await demo({ executable: `${ROOT}/dist/flock`, colour }));
