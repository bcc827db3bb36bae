/**
 * The image: what its Dockerfile says, and that everything flock runs is there and works, in the runtime
 * stage's file system, assembled from the Dockerfile's own list of packages and read-only as in deploy/.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { mustRun, ROOT, run } from "../../scripts/run.ts";
import { IMAGE_EXECUTABLE } from "../../src/core/config.ts";
import { TOOL_DIRS, TOOLS } from "../../src/io/command.ts";
import { VERSION } from "../../src/version.ts";
import { EXECUTABLE } from "../executable.ts";
import { testWith } from "../support.ts";

const dockerfile = await Deno.readTextFile(`${ROOT}/Dockerfile`);
const [buildStage = "", runtimeStage = ""] = dockerfile.split(/^(?=FROM )/m).slice(1);

/** Packages of the runtime stage, by name, with the version each is held to. */
function packages(): ReadonlyMap<string, string> {
  const [, list = ""] = /apt-get install((?: |\\\n|[^&])*)&&/.exec(runtimeStage) ?? [];
  const words = list.replaceAll("\\\n", " ").trim().split(/\s+/);
  return new Map(
    words.filter((word) => !word.startsWith("--")).map((word) => {
      const [name = "", version = ""] = word.split("=");
      return [name, version];
    }),
  );
}

/** What the runtime stage runs to give the executable its other names. */
function naming(): string {
  return /^RUN (ln .*)$/m.exec(runtimeStage)?.[1] ?? "true";
}

Deno.test("image: built in one stage, run in another, every version said", () => {
  assertEquals(dockerfile.match(/^FROM /gm)?.length, 2);
  assert(/^FROM \S+:\S*\d+\.\d+\.\d+ AS build$/m.test(buildStage), "the build stage is not pinned");
  assert(
    /^FROM debian:bookworm-\d{8}-slim$/m.test(runtimeStage),
    "the runtime stage is not pinned",
  );
  assertStringIncludes(buildStage, "deno task build --require-compile");
  assertStringIncludes(runtimeStage, "--no-install-recommends");
  assertStringIncludes(runtimeStage, `COPY --from=build /src/dist/flock ${IMAGE_EXECUTABLE}\n`);
  assertStringIncludes(runtimeStage, `ENTRYPOINT ["${IMAGE_EXECUTABLE}"]`);
  assertStringIncludes(dockerfile, `flock:${VERSION}`);
  const held = packages();
  assert(held.size >= 4);
  for (const [name, version] of held) {
    assert(/^(\d+:)?\d[\d.]+-\*$/.test(version), `${name} ${version}`);
  }
});

testWith(
  "image: flock and its tools work in the runtime stage",
  ["root", "debootstrap"],
  async (t) => {
    const dir = await Deno.makeTempDir({ prefix: "flock-image-" });
    const image = `${dir}/root`;
    try {
      const include = [...packages().keys()].join(",");
      await mustRun(
        ["debootstrap", "--variant=minbase", `--include=${include}`, "bookworm", image],
        {
          timeoutMs: 600_000,
        },
      );

      await t.step("the packages have the versions that the Dockerfile holds them to", async () => {
        for (const [name, version] of packages()) {
          const have = await mustRun(["chroot", image, "dpkg-query", "-Wf", "${Version}", name]);
          assert(have.startsWith(version.slice(0, -1)), `${name} is ${have}, not ${version}`);
        }
      });

      const inImage = await mountedOver(image);
      await t.step("flock tells its version", async () => {
        assertEquals(await inImage([IMAGE_EXECUTABLE, "version"]), `flock ${VERSION}\n`);
      });
      await t.step("the agent and the installer have their own names", async () => {
        // Without a name of the node, and on a root file system that is read-only.
        for (
          const [name, said] of [["agent", "Cannot find the cluster"], [
            "installer",
            "Cannot install",
          ]]
        ) {
          const { stderr } = await run([...await command(image), `${IMAGE_EXECUTABLE}-${name}`]);
          assertStringIncludes(stderr, said!);
        }
      });
      for (
        const [tool, flag] of [["bird", "--version"], ["ip", "-V"], ["nft", "--version"], [
          "conntrack",
          "--version",
        ]]
      ) {
        await t.step(`${tool} tells its version`, async () => {
          assert(/\d+\.\d+/.test(await inImage([tool!, flag!])));
        });
      }
      await t.step("every tool that flock runs is where flock looks", () => {
        const missing = TOOLS.filter((tool) =>
          !TOOL_DIRS.some((path) => isThere(`${image}/usr${path.replace(/^\/usr/, "")}/${tool}`))
        );
        assertEquals(missing, []);
      });
      await t.step("the root file system is read-only", async () => {
        const { code, stderr } = await run([...await command(image), "touch", "/x"]);
        assert(code !== 0 && stderr.includes("Read-only file system"), stderr);
      });
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

/** Runs commands in the image, without any variable but a PATH. Returns what they printed. */
async function mountedOver(image: string): Promise<(args: readonly string[]) => Promise<string>> {
  await Deno.mkdir(`${image}/usr/local/bin`, { recursive: true });
  await Deno.writeTextFile(`${image}${IMAGE_EXECUTABLE}`, "");
  await mustRun(["chroot", image, "sh", "-c", naming()]);
  for (const path of await launcherNeeds()) {
    const { isFile } = await Deno.stat(path);
    await Deno.mkdir(`${image}${isFile ? path.replace(/\/[^/]*$/, "") : path}`, {
      recursive: true,
    });
    if (isFile) await Deno.writeTextFile(`${image}${path}`, "");
  }
  const prefix = await command(image);
  return async (args) => {
    const { code, stdout, stderr } = await run([...prefix, ...args], { timeoutMs: 60_000 });
    assertEquals(code, 0, stderr);
    return stdout + stderr;
  };
}

/**
 * A command that runs another in the image, read-only, in a mount namespace of its own: nothing is left
 * mounted. The executable comes from the build; a launcher sees Deno and the bundle by their own paths.
 */
async function command(image: string): Promise<string[]> {
  const binds = [[EXECUTABLE, IMAGE_EXECUTABLE], ...(await launcherNeeds()).map((p) => [p, p])];
  const script = [
    ...binds.map(([from, to]) => `mount --bind "${from}" "${image}${to}"`),
    `mount --rbind "${image}" "${image}"`,
    `mount -o remount,bind,ro "${image}"`,
    `mount -t proc proc "${image}/proc"`,
    `exec chroot "${image}" /usr/bin/env -i PATH=${TOOL_DIRS.join(":")} "$@"`,
  ].join(" && ");
  return ["unshare", "--mount", "sh", "-c", script, "sh"];
}

/** What a launcher needs besides itself; nothing for an executable that stands alone. */
async function launcherNeeds(): Promise<readonly string[]> {
  if ((await Deno.stat(EXECUTABLE)).size > 100_000) return [];
  const [, deno = ""] = /^exec '?([^' ]+)'? run /m.exec(await Deno.readTextFile(EXECUTABLE)) ?? [];
  return [deno, EXECUTABLE.replace(/\/[^/]*$/, "")];
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
