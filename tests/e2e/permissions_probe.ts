/**
 * A program for permissions_test.ts: tries one thing after the other and prints, as JSON, which of them
 * Deno let it do. It leaves nothing behind.
 *
 * @module
 */

const tries: Readonly<Record<string, () => unknown>> = {
  "write to its own directory": () => {
    const dir = Deno.makeTempDirSync();
    Deno.writeTextFileSync(`${dir}/file`, "x");
    Deno.removeSync(dir, { recursive: true });
  },
  "listen on a unix socket": () => {
    const dir = Deno.makeTempDirSync();
    Deno.listen({ transport: "unix", path: `${dir}/s` }).close();
    Deno.removeSync(dir, { recursive: true });
  },
  "umask": () => Deno.umask(),
  "host name": () => Deno.hostname(),
  "user id": () => Deno.uid(),
  "run ip": () => start("/usr/sbin/ip"),
  "run sh": () => start("/bin/sh"),
  "read CNI_COMMAND": () => variable("CNI_COMMAND"),
  "read FLOCK_SOCKET": () => variable("FLOCK_SOCKET"),
  "read HOME": () => variable("HOME"),
  "read AWS_SECRET_ACCESS_KEY": () => variable("AWS_SECRET_ACCESS_KEY"),
  "run id": () => start("/usr/bin/id"),
  "run ip by name": () => start("ip"),
  "read /etc/shadow": () => Deno.readTextFileSync("/etc/shadow"),
  "read /root/.ssh": () => Deno.statSync("/root/.ssh/id"),
  "read /proc": () => Deno.statSync("/proc/sys/net"),
  "write to /usr": () => leave("/usr/sbin"),
  "write to /lib": () => leave("/lib"),
  "write to /etc/sudoers.d": () => leave("/etc/sudoers.d"),
  "write to /etc/systemd": () => leave("/etc/systemd/system"),
  "load native code": () => Deno.dlopen("/nowhere.so", {}),
  "import from the network": () => import("https://jsr.io/nothing.ts".slice()),
  "addresses of the host": () => Deno.networkInterfaces(),
};

/** What is ignored reads as not set, without an error. */
function variable(name: string): void {
  if (Deno.env.get(name) === undefined || !(name in Deno.env.toObject())) {
    throw new Error("NotCapable: it reads as not set");
  }
}

function start(program: string): void {
  const options: Deno.CommandOptions = { args: ["-V"], clearEnv: true, stdin: "null" };
  new Deno.Command(program, { ...options, env: { PATH: "/usr/sbin:/bin" } }).outputSync();
}

function leave(dir: string): void {
  const path = `${dir}/flock-permission-probe`;
  Deno.writeTextFileSync(path, "");
  Deno.removeSync(path);
}

const outcome: Record<string, string> = {};
for (const [name, attempt] of Object.entries(tries)) {
  try {
    await attempt();
    outcome[name] = "done";
  } catch (error) {
    // What Deno allowed may fail for another reason: that is not a refusal.
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    outcome[name] = /NotCapable|Requires import access/.test(message) ? "refused" : message;
  }
}
await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(outcome)));
