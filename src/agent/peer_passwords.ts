/**
 * Passwords of BGP peers, from Secrets. They are read again now and then, so that a changed one is taken
 * over. What was read stays in force while the API server is away: a session is worth more than a fresh
 * answer. Values never leave this module but for BIRD's configuration.
 *
 * @module
 */
import type { NodeConfig } from "../core/node_config.ts";
import type { ClusterWriter, SecretReference, SecretValue } from "../core/objects.ts";
import { isNews, log } from "../log.ts";
import { Pulse } from "./pulse.ts";

/** Milliseconds between two readings, and until one that failed is tried again. */
const REFRESH_MS = 60_000;
const RETRY_MS = 5_000;

export interface PeerPasswordsOptions {
  readonly node: { readonly config: NodeConfig | undefined };
  /** Undefined where there are no Secrets: every one is missing. */
  readonly reader: Pick<ClusterWriter, "readSecret"> | undefined;
  /** A password came, changed or went. */
  readonly onChange: () => void;
}

/** The passwords that the NodeConfig in force refers to. */
export class PeerPasswords {
  readonly #o: PeerPasswordsOptions;
  readonly #pulse = new Pulse();
  #values: ReadonlyMap<string, SecretValue> = new Map();
  #failures = 0;

  constructor(options: PeerPasswordsOptions) {
    this.#o = options;
  }

  /** A password; undefined as long as nobody could say. */
  get(reference: SecretReference): SecretValue | undefined {
    if (this.#o.reader === undefined) {
      return { kind: "missing", reason: "a directory of manifests holds no Secrets" };
    }
    return this.#values.get(keyOf(reference));
  }

  /** The NodeConfig changed: look at once. */
  wake(): void {
    this.#pulse.wake();
  }

  /** Keeps the passwords up to date until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const complete = await this.refresh(signal);
      await this.#pulse.wait(complete ? REFRESH_MS : RETRY_MS, signal);
    }
  }

  /** Reads every Secret that is referred to. False when one could not be asked for. */
  async refresh(signal: AbortSignal): Promise<boolean> {
    const { node, reader, onChange } = this.#o;
    if (reader === undefined) return true;
    const references = new Map(
      (node.config?.bgp.peers ?? []).flatMap(({ passwordSecretRef: reference }) =>
        reference === undefined ? [] : [[keyOf(reference), reference] as const]
      ),
    );
    const values = new Map<string, SecretValue>();
    let complete = true;
    for (const [key, reference] of references) {
      let value = this.#values.get(key);
      try {
        value = await reader.readSecret(reference, signal);
      } catch (error) {
        if (signal.aborted) return false;
        complete = false;
        if (isNews(this.#failures + 1)) {
          log.warn("Could not read Secret", {
            secret: key,
            err: error,
            failures: this.#failures + 1,
          });
        }
      }
      if (value !== undefined) values.set(key, value);
    }
    this.#failures = complete ? 0 : this.#failures + 1;
    const changed = JSON.stringify([...values]) !== JSON.stringify([...this.#values]);
    this.#values = values;
    if (changed) onChange();
    return complete;
  }
}

function keyOf({ namespace, name, key }: SecretReference): string {
  return `${namespace}/${name}/${key}`;
}
