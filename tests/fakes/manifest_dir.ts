/**
 * A directory of manifests for tests of what reads it.
 *
 * @module
 */
import { assert } from "@std/assert";
import { createManifestSource } from "../../src/io/manifests.ts";
import { configureLog } from "../../src/log.ts";

const POLL_MS = 60_000; // what a test sees within its deadline came from an event

/** A directory of manifests and a source that reads it, not yet running. */
export interface ManifestsFixture extends AsyncDisposable {
  readonly dir: string;
  readonly source: ReturnType<typeof createManifestSource>;
  /** What was logged. */
  readonly logs: Record<string, unknown>[];
  /** Begins to follow the directory. */
  start(): void;
  /** How often a change was told. */
  changes(): number;
  /** Keys of the pods, sorted. */
  pods(): string[];
  /** Renames a file with these documents into place. */
  write(name: string, ...documents: (string | object)[]): Promise<void>;
  until(condition: () => boolean): Promise<void>;
}

/** Makes a directory. Nobody looks at it of his own accord within a minute, unless told. */
export async function manifestsFixture(
  options: { readonly pollMs?: number } = {},
): Promise<ManifestsFixture> {
  const parent = await Deno.makeTempDir({ prefix: "flock-manifests-" });
  const dir = `${parent}/manifests`;
  await Deno.mkdir(dir);
  const logs: Record<string, unknown>[] = [];
  configureLog({ level: "info", format: "json", write: (line) => logs.push(JSON.parse(line)) });
  const source = createManifestSource(dir, { pollMs: POLL_MS, ...options });
  let changes = 0;
  source.onChange(() => changes++);
  const stop = new AbortController();
  let running: Promise<void> | undefined;
  const pods = (): string[] => [...source.pods()].map((p) => `${p.namespace}/${p.name}`).sort();
  return {
    dir,
    source,
    logs,
    pods,
    start: () => void (running = source.run(stop.signal)),
    changes: () => changes,
    write: async (name, ...documents) => {
      const text = documents.map((d) => typeof d === "string" ? d : JSON.stringify(d));
      await Deno.writeTextFile(`${dir}/.new`, text.join("\n---\n"));
      await Deno.rename(`${dir}/.new`, `${dir}/${name}`);
    },
    until: async (condition) => {
      const deadline = Date.now() + 10_000;
      while (!condition()) {
        assert(Date.now() < deadline, `not within 10 s: ${condition}; ${JSON.stringify(logs)}`);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await running;
      await Deno.remove(parent, { recursive: true });
    },
  };
}

/** A Pod as JSON, with an annotation to tell it by. */
export function manifestPod(name: string, note = ""): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, annotations: { note } },
  });
}
