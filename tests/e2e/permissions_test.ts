/**
 * What the baked permissions let a program do, and what they refuse.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { permissionFlags } from "../../scripts/permissions.ts";
import { mustRun, run } from "../../scripts/run.ts";
import { testWith } from "../support.ts";

const PROBE = new URL("permissions_probe.ts", import.meta.url).pathname;

testWith(
  "e2e: the baked permissions allow flock's work and refuse the rest",
  ["root"],
  async () => {
    const deno = [Deno.execPath(), "run", "--quiet", "--no-config", "--no-lock"];
    const env = {
      PATH: "/usr/sbin:/bin",
      HOME: "/root",
      DENO_DIR: await Deno.makeTempDir(),
      CNI_COMMAND: "ADD",
      FLOCK_SOCKET: "/run/s",
      AWS_SECRET_ACCESS_KEY: "secret",
    };
    try {
      const said = await mustRun([...deno, ...permissionFlags(), PROBE], { env });
      assertEquals(JSON.parse(said), {
        "write to its own directory": "done",
        "listen on a unix socket": "done",
        "umask": "done",
        "host name": "done",
        "user id": "done",
        "run ip": "done",
        "run sh": "done",
        "read CNI_COMMAND": "done",
        "read FLOCK_SOCKET": "done",
        "read HOME": "refused",
        "read AWS_SECRET_ACCESS_KEY": "refused",
        "run id": "refused",
        "run ip by name": "done",
        "read /etc/shadow": "refused",
        "read /root/.ssh": "refused",
        "read /proc": "refused",
        "write to /usr": "refused",
        "write to /lib": "refused",
        "write to /etc/sudoers.d": "refused",
        "write to /etc/systemd": "refused",
        "load native code": "refused",
        "import from the network": "refused",
        "addresses of the host": "refused",
      });
    } finally {
      await Deno.remove(env.DENO_DIR, { recursive: true });
    }
  },
);

Deno.test("e2e: the baked permissions print nothing where none of the tools is installed", async () => {
  const empty = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${empty}/empty.js`, "");
    const nowhere = permissionFlags().map((flag) => flag.replaceAll("bin/", "bin/no-such-"));
    const deno = [Deno.execPath(), "run", "--quiet", "--no-config", "--no-lock"];
    const result = await run([...deno, ...nowhere, `${empty}/empty.js`], {
      env: { DENO_DIR: empty },
    });
    assertEquals(result, { code: 0, stdout: "", stderr: "" });
  } finally {
    await Deno.remove(empty, { recursive: true });
  }
});
