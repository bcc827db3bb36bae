import { assert, assertEquals } from "@std/assert";
import { FakeSource } from "../../tests/fakes/fake_source.ts";
import type { Attachment } from "../core/attachment.ts";
import { renderBirdConfig } from "../core/bird_config.ts";
import { formatPrefix } from "../core/cidr.ts";
import type { IpRoute } from "../core/ip_state.ts";
import type { SecretValue } from "../core/objects.ts";
import { configureLog } from "../log.ts";
import { BgpInput } from "./bgp_input.ts";
import { NodeState } from "./node_state.ts";

const lines: string[] = [];
configureLog({ level: "debug", format: "json", write: (line) => lines.push(line) });

const REFERENCE = { namespace: "routing", name: "bgp", key: "password" };
const PEERS = [
  { address: "198.51.100.1", asn: 65000, localAddress: "198.51.100.11" },
  {
    address: "198.51.100.2",
    asn: 65000,
    localAddress: "198.51.100.11",
    passwordSecretRef: REFERENCE,
  },
];

class Fixture implements AsyncDisposable {
  readonly dir = Deno.makeTempDirSync({ prefix: "flock-bgp-input-" });
  password: SecretValue | undefined;
  attachments: readonly Attachment[] = [];
  readonly drain = { active: false };
  readonly #node = new NodeState("n1", this.dir);
  readonly input = new BgpInput({
    ip: { routesToward: () => Promise.resolve(new Map<string, IpRoute>()) },
    node: this.#node,
    nodeName: "n1",
    stateDir: this.dir,
    passwords: { get: () => this.password },
    addresses: { get: () => undefined },
    attachments: () => this.attachments,
    drain: this.drain,
  });

  async configure(peers: readonly unknown[]): Promise<void> {
    const source = new FakeSource();
    source.putConfig("n1", { cidr4: ["10.244.1.0/24"], bgp: { asn: 65001, peers } });
    await this.#node.update(source);
  }

  async peers(): Promise<readonly string[] | undefined> {
    const input = await this.input.gather([]);
    return input?.peers.map(({ peer, password }) =>
      `${peer.address.value & 3n} ${password ?? "-"}`
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("gather() gives a peer its password, which only BIRD gets to see", async () => {
  await using f = new Fixture();
  await f.configure(PEERS);
  lines.length = 0;
  f.password = { kind: "value", value: "s3cret" };
  assertEquals(await f.peers(), ["1 -", "2 s3cret"]);
  assertEquals(f.input.leftOut, []);
  const input = await f.input.gather([]);
  assert(renderBirdConfig(input!).includes('password "s3cret";'));
  assert(!renderBirdConfig(input!, { redact: true }).includes("s3cret"));
  assert(!lines.some((line) => line.includes("s3cret")), lines.join(""));
});

Deno.test("gather() leaves BIRD as it is until somebody could say what the password is", async () => {
  await using f = new Fixture();
  await f.configure(PEERS);
  assertEquals(await f.peers(), undefined);
  assertEquals(f.input.waitingFor, "the password of peer 198.51.100.2");
  await f.configure(PEERS.slice(0, 1));
  assertEquals(await f.peers(), ["1 -"]);
  assertEquals(f.input.waitingFor, undefined);
});

Deno.test("gather() leaves out a peer whose Secret is missing, forbidden or no password", async () => {
  await using f = new Fixture();
  await f.configure(PEERS);
  lines.length = 0;
  f.password = { kind: "missing", reason: 'there is no Secret "routing/bgp"' };
  assertEquals(await f.peers(), ["1 -"]);
  assertEquals(f.input.leftOut, [{
    peer: "198.51.100.2",
    reason: "SecretMissing",
    message: 'there is no Secret "routing/bgp"',
  }]);
  await f.peers();
  assertEquals(lines.filter((line) => line.includes("Left out BGP peer")).length, 1);

  f.password = { kind: "forbidden" };
  assertEquals(await f.peers(), ["1 -"]);
  const [forbidden] = f.input.leftOut;
  assertEquals(forbidden?.reason, "SecretForbidden");
  assert(
    forbidden?.message.startsWith(
      'flock may not read Secret "routing/bgp"; apply:\napiVersion: rbac',
    ),
  );
  assert(forbidden?.message.includes('resourceNames: ["bgp"], verbs: ["get"]'));

  f.password = { kind: "value", value: 's3"cret' };
  assertEquals(await f.peers(), ["1 -"]);
  const [unusable] = f.input.leftOut;
  assertEquals(unusable?.reason, "Unusable");
  assert(!unusable?.message.includes("s3"), "the password is told");
  assert(!lines.some((line) => line.includes("s3")), lines.join(""));
});

Deno.test("gather() leaves out a peer that no route leads to", async () => {
  await using f = new Fixture();
  await f.configure([{ address: "198.51.100.1", asn: 65000 }]);
  assertEquals(await f.peers(), []);
  assertEquals(f.input.leftOut[0]?.reason, "NoRoute");
});

Deno.test("gather() has GRACEFUL_SHUTDOWN on every anycast address while the node is drained", async () => {
  await using f = new Fixture();
  await f.configure(PEERS.slice(0, 1));
  f.attachments = [["203.0.113.200"], undefined, ["2001:db8:ffff::53", "203.0.113.200"]]
    .map((anycast) => ({ anycast, addresses: ["203.0.113.201"] }) as unknown as Attachment);
  const text = renderBirdConfig((await f.input.gather([]))!);
  assert(!text.includes("bgp_community.add((65535, 0))"), text);
  assertEquals(f.input.gracefulShutdown, false);

  f.drain.active = true;
  const draining = await f.input.gather([]);
  assertEquals(f.input.gracefulShutdown, true);
  assertEquals(
    draining?.gracefulShutdown?.map(formatPrefix),
    ["203.0.113.200/32", "2001:db8:ffff::53/128", "203.0.113.200/32"],
  );

  f.drain.active = false;
  assertEquals(renderBirdConfig((await f.input.gather([]))!), text);
  assertEquals(f.input.gracefulShutdown, false);
});
