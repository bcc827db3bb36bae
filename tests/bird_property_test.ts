/**
 * Properties of BIRD's configuration: every NodeConfig that is accepted renders to a text that `bird -p`
 * accepts, and no text of an operator can end a statement.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type BirdInput, renderBirdConfig } from "../src/core/bird_config.ts";
import {
  bitsOf,
  type Family,
  formatAddress,
  formatPrefix,
  isUnicast,
  overlaps,
  parseAddress,
  type Prefix,
  prefixOf,
  scopeOf,
} from "../src/core/cidr.ts";
import { type NodeConfig, parseNodeConfig } from "../src/core/node_config.ts";
import { CommandError, runCommand } from "../src/io/command.ts";
import { testWith } from "./support.ts";

/** A configuration takes `bird -p` about 3 ms. */
const RUNS = 250;

const family = fc.constantFrom<Family>("ipv6", "ipv4");
const address = (of: Family): fc.Arbitrary<string> =>
  fc.bigInt({ min: 0n, max: (1n << BigInt(bitsOf(of))) - 1n })
    .map((value) => ({ family: of, value }))
    .filter((one) => scopeOf(one) === "unicast")
    .map(formatAddress);
const prefix = (of: Family, min = 0, max = bitsOf(of)): fc.Arbitrary<string> =>
  fc.tuple(fc.bigInt({ min: 0n, max: (1n << BigInt(bitsOf(of))) - 1n }), fc.integer({ min, max }))
    .map(([value, length]) => formatPrefix(prefixOf({ family: of, value }, length)));
const unicastPrefix = (of: Family, min: number, max: number): fc.Arbitrary<string> =>
  prefix(of, min, max).filter((text) => isUnicast(toPrefix(text)));
/** Prefixes of a node: none overlaps another. */
const nodePrefixes = (of: Family, max: number): fc.Arbitrary<string[]> =>
  fc.array(unicastPrefix(of, 8, max), { maxLength: 3 }).filter((texts) => {
    const all = texts.map(toPrefix);
    return all.every((a, i) => all.every((b, j) => i === j || !overlaps(a, b)));
  });
const anyPrefix = family.chain((of) => prefix(of));
const uint32 = fc.integer({ min: 0, max: 4_294_967_295 });
const asn = fc.integer({ min: 1, max: 4_294_967_294 }).filter((n) => n !== 23_456);

const importRule = family.chain((of) =>
  fc.tuple(prefix(of), fc.nat(128), fc.nat(128), fc.boolean(), fc.boolean()).map(
    ([cidr, a, b, hasGe, hasLe]) => {
      const { length } = toPrefix(cidr);
      const inside = (n: number): number => length + n % (bitsOf(of) - length + 1);
      const [ge, le] = [inside(a), inside(b)].sort((x, y) => x - y);
      return { cidr, ...(hasGe ? { ge } : {}), ...(hasLe ? { le } : {}) };
    },
  )
);

const peer = family.chain((of) =>
  fc.record({
    address: address(of),
    localAddress: address(of),
    asn,
    port: fc.integer({ min: 1, max: 65_535 }),
    passive: fc.boolean(),
    multihop: fc.integer({ min: 1, max: 255 }),
    holdTime: fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 65_535 })),
    gracefulRestart: fc.record({
      enabled: fc.boolean(),
      restartTime: fc.integer({ min: 1, max: 4_095 }),
    }, { requiredKeys: [] }),
    bfd: fc.record({
      enabled: fc.boolean(),
      interval: fc.integer({ min: 10, max: 60_000 }),
      multiplier: fc.integer({ min: 2, max: 255 }),
    }, { requiredKeys: [] }),
    localPreference: uint32,
    med: uint32,
    prepend: fc.nat(16),
    communities: fc.array(
      fc.oneof(
        fc.tuple(fc.nat(65_535), fc.nat(65_535)).map((parts) => parts.join(":")),
        fc.tuple(uint32, uint32, uint32).map((parts) => parts.join(":")),
      ),
      { maxLength: 8 },
    ),
    importDefaultRoute: fc.boolean(),
    importLimit: fc.integer({ min: 1, max: 10_000_000 }),
  }, { requiredKeys: ["address", "localAddress", "asn"] })
    .filter((one) => one.address !== one.localAddress)
    .map((one) => one.multihop === undefined ? { ...one, ttlSecurity: true } : one)
);

const spec = fc.record({
  cidr6: nodePrefixes("ipv6", 120),
  cidr4: nodePrefixes("ipv4", 30),
  reserved: fc.array(anyPrefix, { maxLength: 4 }),
  bgp: fc.record({
    asn,
    allowLocalAS: fc.boolean(),
    import: fc.array(importRule, { maxLength: 6 }),
    peers: fc.uniqueArray(peer, { maxLength: 4, selector: ({ address }) => address }),
  }),
  announce: fc.record({
    allowed: fc.array(anyPrefix.map((cidr) => ({ cidr })), { maxLength: 4 }),
  }, { requiredKeys: [] }),
}, { requiredKeys: ["bgp"] });

/** Texts that look like the end of what they are put into. */
const hostile = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    '"; } protocol bgp evil {',
    "}",
    ";",
    "# ",
    "*/",
    "\n}",
    "\0",
    'include "/etc/shadow";',
    "2001:db8::1 as 1; }",
    "2001:db8::1%eth0",
    "65000:1)); reject; #",
    "<%= 1 %>",
    "x".repeat(1_000_000),
  ),
);

function inputOf(config: NodeConfig, password?: string): BirdInput {
  return {
    routerId: config.bgp.routerId === undefined ? "9.9.9.9" : formatAddress(config.bgp.routerId),
    asn: config.bgp.asn,
    allowLocalAs: config.bgp.allowLocalAs,
    nodePrefixes: [...config.cidr6, ...config.cidr4],
    import: config.bgp.import,
    connected: [toPrefix("2001:db8:25::/64"), toPrefix("198.51.100.0/24")],
    reserved: config.reserved,
    announceAllowed: config.announce.allowed?.map(({ prefix }) => prefix),
    peers: config.bgp.peers.map((one) => ({
      peer: one,
      localAddress: one.localAddress ?? parseAddress("198.51.100.11"),
      password,
    })),
  };
}

function toPrefix(text: string): Prefix {
  const [address = "", length] = text.split("/");
  return prefixOf(parseAddress(address), Number(length));
}

async function assertAccepted(file: string, text: string): Promise<void> {
  await Deno.writeTextFile(file, text);
  try {
    await runCommand("bird", ["-p", "-c", file]);
  } catch (error) {
    throw error instanceof CommandError ? new Error(`${error.stderr}\n${text}`) : error;
  }
}

testWith(
  "property: bird accepts the rendering of every accepted NodeConfig",
  ["bird"],
  async () => {
    const file = await Deno.makeTempFile({ prefix: "flock-bird-", suffix: ".conf" });
    try {
      await fc.assert(
        fc.asyncProperty(spec, fc.boolean(), async (written, redact) => {
          const { config } = parseNodeConfig({ name: "n", annotations: {}, spec: written });
          const input = inputOf(config, redact ? "secret" : undefined);
          const text = renderBirdConfig(input, { redact });
          assertEquals(text, renderBirdConfig(structuredClone(input), { redact }));
          assertEquals(text.split("\nprotocol bgp ").length - 1, config.bgp.peers.length);
          await assertAccepted(file, text);
        }),
        { numRuns: RUNS },
      );
    } finally {
      await Deno.remove(file);
    }
  },
);

testWith("property: no operator's text gets into BIRD's configuration", ["bird"], async () => {
  const file = await Deno.makeTempFile({ prefix: "flock-bird-", suffix: ".conf" });
  const fields: readonly ((text: string) => unknown)[] = [
    (text) => ({ cidr6: [text] }),
    (text) => ({ reserved: [text] }),
    (text) => ({ announce: { allowed: [{ cidr: text }] } }),
    (text) => ({ bgp: { asn: 1, routerID: text } }),
    (text) => ({ bgp: { asn: text } }),
    (text) => ({ bgp: { asn: 1, import: [{ cidr: text }] } }),
    (text) => ({ bgp: { asn: 1, peers: [{ address: text, asn: 1 }] } }),
    (text) => ({ bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 1, med: text }] } }),
    (text) => ({
      bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 1, localAddress: text }] },
    }),
    (text) => ({
      bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 1, communities: [text] }] },
    }),
  ];
  const plain = { bgp: { asn: 1, peers: [{ address: "198.51.100.1", asn: 1 }] } };
  let written = 0;
  try {
    await fc.assert(
      fc.asyncProperty(hostile, fc.constantFrom(...fields), async (text, field) => {
        let config: NodeConfig | undefined;
        try {
          config = parseNodeConfig({ name: "n", annotations: {}, spec: field(text) }).config;
        } catch (error) {
          assert(error instanceof SyntaxError, String(error));
        }
        if (config !== undefined) await assertAccepted(file, renderBirdConfig(inputOf(config)));
        // A password may be nearly anything, and is not validated before it is read from its Secret.
        const one = parseNodeConfig({ name: "n", annotations: {}, spec: plain }).config;
        let rendered: string;
        try {
          rendered = renderBirdConfig(inputOf(one, text));
        } catch (error) {
          assert(error instanceof SyntaxError, String(error));
          return;
        }
        written++;
        await assertAccepted(file, rendered);
        const lines = rendered.split("\n").length;
        assertEquals(lines, renderBirdConfig(inputOf(one, "secret")).split("\n").length);
      }),
      { numRuns: RUNS },
    );
  } finally {
    await Deno.remove(file);
  }
  assert(written > 0, "no password was accepted at all");
});
