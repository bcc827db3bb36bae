import { assert, assertEquals } from "@std/assert";
import { parseNodeConfig } from "../core/node_config.ts";
import type { SecretReference, SecretValue } from "../core/objects.ts";
import { configureLog } from "../log.ts";
import { PeerPasswords } from "./peer_passwords.ts";

const lines: string[] = [];
configureLog({ level: "debug", format: "json", write: (line) => lines.push(line) });

const signal = new AbortController().signal;
const REFERENCE: SecretReference = { namespace: "kube-system", name: "flock-bgp", key: "password" };

class Fixture {
  node: { config: ReturnType<typeof parseNodeConfig>["config"] | undefined };
  answer: SecretValue | Error = { kind: "value", value: "s3cret" };
  reads = 0;
  changes = 0;
  readonly passwords: PeerPasswords;

  constructor(options: { reader?: false } = {}) {
    const peers = [1, 2].map((n) => ({
      address: `2001:db8:25::${n}`,
      asn: 65000,
      passwordSecretRef: REFERENCE,
    }));
    const spec = { bgp: { asn: 65001, peers } };
    const reader = {
      readSecret: (): Promise<SecretValue> => {
        this.reads++;
        return this.answer instanceof Error
          ? Promise.reject(this.answer)
          : Promise.resolve(this.answer);
      },
    };
    this.node = { config: parseNodeConfig({ name: "n1", annotations: {}, spec }).config };
    this.passwords = new PeerPasswords({
      node: this.node,
      reader: options.reader === false ? undefined : reader,
      onChange: () => this.changes++,
    });
  }
}

Deno.test("PeerPasswords reads each Secret once, and tells when a value changed", async () => {
  const f = new Fixture();
  assertEquals(f.passwords.get(REFERENCE), undefined, "nobody could say yet");
  assertEquals(await f.passwords.refresh(signal), true);
  assertEquals([f.reads, f.changes], [1, 1]);
  assertEquals(f.passwords.get(REFERENCE), { kind: "value", value: "s3cret" });
  await f.passwords.refresh(signal);
  assertEquals(f.changes, 1);
  f.answer = { kind: "missing", reason: "there is no Secret" };
  await f.passwords.refresh(signal);
  assertEquals(f.changes, 2);
  assertEquals(f.passwords.get(REFERENCE), f.answer);
});

Deno.test("PeerPasswords keeps what it knows while the API server is away", async () => {
  const f = new Fixture();
  await f.passwords.refresh(signal);
  f.answer = new Error("Cannot read: connection refused");
  for (let failure = 1; failure <= 5; failure++) {
    assertEquals(await f.passwords.refresh(signal), false);
  }
  assertEquals(f.passwords.get(REFERENCE), { kind: "value", value: "s3cret" });
  assertEquals(f.changes, 1);
  const written = lines.filter((line) => line.includes("Could not read Secret"));
  // At first, and at each doubling.
  assertEquals(written.map((line) => JSON.parse(line).failures), [1, 2, 4]);
  assert(written[0]?.includes('"secret":"kube-system/flock-bgp/password"'));
  assert(!lines.some((line) => line.includes("s3cret")));
});

Deno.test("PeerPasswords forgets what nobody refers to, and has nothing where there are no Secrets", async () => {
  const f = new Fixture();
  await f.passwords.refresh(signal);
  f.node.config = undefined;
  await f.passwords.refresh(signal);
  assertEquals(f.passwords.get(REFERENCE), undefined);
  const without = new Fixture({ reader: false });
  assertEquals(await without.passwords.refresh(signal), true);
  assertEquals(without.passwords.get(REFERENCE), {
    kind: "missing",
    reason: "a directory of manifests holds no Secrets",
  });
});

Deno.test("PeerPasswords looks at once when woken, and ends with its signal", async () => {
  const f = new Fixture();
  const stop = new AbortController();
  const running = f.passwords.run(stop.signal);
  for (let n = 0; f.reads < 1 && n < 100; n++) await new Promise((r) => setTimeout(r, 1));
  f.passwords.wake();
  for (let n = 0; f.reads < 2 && n < 100; n++) await new Promise((r) => setTimeout(r, 1));
  assertEquals(f.reads, 2);
  stop.abort();
  await running;
});
