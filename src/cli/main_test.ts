/**
 * The command line, by running the program.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** No command gets anywhere if it runs after all. */
const NOWHERE = "/proc/flock-test";

const RELATIVE: readonly {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly says: string;
}[] = [
  {
    args: ["bird-run", "--bird-config", "rel", "--bird-socket", NOWHERE],
    says: '--bird-config: Cannot use path "rel"',
  },
  {
    args: ["bird-run", "--bird-config=", "--bird-socket", NOWHERE],
    says: '--bird-config: Cannot use path ""',
  },
  {
    args: ["bird-run", "--bird-config", `${NOWHERE}/b.conf`, "--bird-socket", "./b.ctl"],
    says: '--bird-socket: Cannot use path "./b.ctl"',
  },
  {
    args: ["bird-run", "--bird-socket", NOWHERE],
    env: { FLOCK_BIRD_CONFIG: "rel" },
    says: '--bird-config: Cannot use path "rel"',
  },
  { args: ["bird-stop", "--bird-socket", "rel"], says: '--bird-socket: Cannot use path "rel"' },
  {
    args: ["bird-stop", "--goodbye"],
    env: { FLOCK_BIRD_SOCKET: "rel" },
    says: '--bird-socket: Cannot use path "rel"',
  },
  { args: ["install", "--plugin-dir", "rel"], says: '--plugin-dir: Cannot use path "rel"' },
  {
    args: ["install", "--plugin-dir", NOWHERE, "--conflist", "rel"],
    says: '--conflist: Cannot use path "rel"',
  },
  { args: ["doctor", "--manifests", "rel"], says: '--manifests: Cannot use path "rel"' },
  ...["state-dir", "socket", "bird-socket"].map((name) => ({
    args: ["uninstall", "--dry-run", `--${name}`, "rel"],
    says: `--${name}: Cannot use path "rel"`,
  })),
  ...["drain", "undrain"].map((name) => ({
    args: [name, "--socket", "rel"],
    says: '--socket: Cannot use path "rel"',
  })),
];

for (const { args, env, says } of RELATIVE) {
  const shown = [...Object.entries(env ?? {}).map(([name, value]) => `${name}=${value}`), ...args];
  Deno.test(`flock ${shown.join(" ")} is a usage error`, async () => {
    const cwd = await Deno.makeTempDir();
    try {
      assertEquals(await flock(args, { env, cwd }), {
        code: 2,
        stdout: "",
        stderr: `error: ${says}: it is not absolute\n`,
      });
      assertEquals(await Array.fromAsync(Deno.readDir(cwd)), [], "nothing is written");
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  });
}

Deno.test("flock drain takes a wait in Go's syntax, from 0 to a day", async () => {
  const cases = {
    "soon": 'Cannot parse duration "soon": it is not like 30s or 1m30s',
    "30": 'Cannot parse duration "30": it is not like 30s or 1m30s',
    "-1s": 'Cannot use wait "-1s": it is negative',
    "24h1s": 'Cannot use wait "24h1s": it is over 24h',
  };
  for (const [wait, says] of Object.entries(cases)) {
    const args = ["drain", `--wait=${wait}`, "--socket", `${NOWHERE}/s`];
    assertEquals(await flock(args, { cwd: "/" }), {
      code: 2,
      stdout: "",
      stderr: `error: --wait: ${says}\n`,
    });
  }
});

Deno.test("flock drain and undrain fail without an agent, naming its socket", async () => {
  for (const command of ["drain", "undrain"]) {
    const { code, stdout, stderr } = await flock([command, "--socket", `${NOWHERE}/s`], {
      cwd: "/",
    });
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, `Cannot call agent at \\"${NOWHERE}/s\\": nobody answers there`);
  }
});

Deno.test("flock bird-stop takes an absolute path", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    const { code, stderr } = await flock(["bird-stop", "--bird-socket", `${cwd}/b.ctl`], { cwd });
    assertEquals(code, 0);
    assertStringIncludes(stderr, "BIRD was not running");
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

async function flock(
  args: readonly string[],
  { env, cwd }: { readonly env?: Readonly<Record<string, string>>; readonly cwd: string },
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", MAIN, ...args],
    env: { NO_COLOR: "1", ...env },
    cwd,
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
