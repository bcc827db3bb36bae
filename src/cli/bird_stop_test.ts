import { assertEquals, assertStringIncludes } from "@std/assert";
import { chooseStop } from "./bird_stop.ts";

Deno.test("chooseStop() says goodbye unless the host is seen to stay", async (t) => {
  const cases: Readonly<Record<string, readonly [(run: string) => void, string, string]>> = {
    "host runs": [
      (run) => Deno.mkdirSync(`${run}/systemd/seats`, { recursive: true }),
      "graceful",
      "not shutting down",
    ],
    "host runs, an empty shutdown directory": [
      (run) => Deno.mkdirSync(`${run}/systemd/shutdown`, { recursive: true }),
      "graceful",
      "not shutting down",
    ],
    "logins are refused": [
      (run) => {
        Deno.mkdirSync(`${run}/systemd/seats`, { recursive: true });
        Deno.writeTextFileSync(`${run}/nologin`, "");
      },
      "goodbye",
      "/nologin",
    ],
    "shutdown is scheduled": [
      (run) => {
        Deno.mkdirSync(`${run}/systemd/shutdown`, { recursive: true });
        Deno.writeTextFileSync(`${run}/systemd/shutdown/scheduled`, "USEC=0");
      },
      "goodbye",
      "/systemd/shutdown",
    ],
    "no systemd": [() => {}, "goodbye", "nothing in"],
    "no directory at all": [(run) => Deno.removeSync(run), "goodbye", "nothing in"],
    "a directory that cannot be read": [
      (run) => {
        Deno.removeSync(run);
        Deno.writeTextFileSync(run, "");
      },
      "goodbye",
      "cannot be read",
    ],
  };
  for (const [name, [arrange, mode, reason]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const dir = Deno.makeTempDirSync({ prefix: "flock-run-" });
      const run = `${dir}/run`;
      Deno.mkdirSync(run);
      try {
        arrange(run);
        const chosen = await chooseStop(run);
        assertEquals(chosen.mode, mode);
        assertStringIncludes(chosen.reason, reason);
      } finally {
        Deno.removeSync(dir, { recursive: true });
      }
    });
  }
});
