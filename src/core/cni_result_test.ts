import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CNI_VERSIONS, type CniVersion } from "./cni.ts";
import { appendResult, type CniResult, decodeResult, encodeResult } from "./cni_result.ts";
import { CniError } from "./errors.ts";

/** What flock returns for a pod with both families. */
const RESULT: CniResult = {
  interfaces: [
    { name: "flock1a2b3c4d", mac: "02:f0:1a:2b:3c:4d", mtu: 1500 },
    { name: "eth0", mac: "06:f0:1a:2b:3c:4d", mtu: 1500, sandbox: "/run/netns/x" },
  ],
  ips: [
    { address: "2001:db8:f001::a/128", gateway: "fe80::1", interface: 1 },
    { address: "10.244.1.2/32", gateway: "169.254.1.1", interface: 1 },
  ],
  routes: [{ dst: "::/0", gw: "fe80::1" }, { dst: "0.0.0.0/0", gw: "169.254.1.1" }],
};

const OLD = {
  ip4: {
    ip: "10.244.1.2/32",
    gateway: "169.254.1.1",
    routes: [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }],
  },
  ip6: {
    ip: "2001:db8:f001::a/128",
    gateway: "fe80::1",
    routes: [{ dst: "::/0", gw: "fe80::1" }],
  },
};
const INTERFACES = [
  { name: "flock1a2b3c4d", mac: "02:f0:1a:2b:3c:4d" },
  { name: "eth0", mac: "06:f0:1a:2b:3c:4d", sandbox: "/run/netns/x" },
];
const IPS = [
  { interface: 1, address: "2001:db8:f001::a/128", gateway: "fe80::1" },
  { interface: 1, address: "10.244.1.2/32", gateway: "169.254.1.1" },
];
const WITH_VERSION = {
  interfaces: INTERFACES,
  ips: [{ version: "6", ...IPS[0] }, { version: "4", ...IPS[1] }],
  routes: RESULT.routes,
};

/** The whole result as each version of the specification prints it. */
const SHAPES: Readonly<Record<CniVersion, Record<string, unknown>>> = {
  "0.1.0": { cniVersion: "0.1.0", ...OLD },
  "0.2.0": { cniVersion: "0.2.0", ...OLD },
  "0.3.0": { cniVersion: "0.3.0", ...WITH_VERSION },
  "0.3.1": { cniVersion: "0.3.1", ...WITH_VERSION },
  "0.4.0": { cniVersion: "0.4.0", ...WITH_VERSION },
  "1.0.0": { cniVersion: "1.0.0", interfaces: INTERFACES, ips: IPS, routes: RESULT.routes },
  "1.1.0": {
    cniVersion: "1.1.0",
    interfaces: INTERFACES.map((i) => ({ ...i, mtu: 1500 })),
    ips: IPS,
    routes: RESULT.routes,
  },
};

Deno.test("encodeResult() prints exactly the shape of each version", async (t) => {
  for (const version of CNI_VERSIONS) {
    // Through JSON: a key whose value is undefined would not be seen otherwise.
    await t.step(version, () => {
      assertEquals(JSON.parse(JSON.stringify(encodeResult(RESULT, version))), SHAPES[version]);
    });
  }
});

Deno.test("encodeResult() prints dns only when there is some, in every version", () => {
  const dns = { nameservers: ["2001:db8::53"], search: ["example.org"] };
  for (const version of CNI_VERSIONS) {
    assertEquals(encodeResult({ ...RESULT, dns }, version).dns, dns);
    assert(!("dns" in encodeResult(RESULT, version)), version);
  }
});

Deno.test("encodeResult() prints further attributes from 1.1.0 on only", () => {
  const result: CniResult = {
    interfaces: [{ name: "vf0", mtu: 9000, socketPath: "/s", pciID: "0000:00:1f.6" }],
    ips: [],
    routes: [{ dst: "::/0", mtu: 1400, advmss: 1340, priority: 5, table: 100, scope: 253 }],
  };
  assertEquals(encodeResult(result, "1.1.0"), { cniVersion: "1.1.0", ...result });
  for (const version of ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] as const) {
    assertEquals(encodeResult(result, version), {
      cniVersion: version,
      interfaces: [{ name: "vf0" }],
      ips: [],
      routes: [{ dst: "::/0" }],
    });
  }
});

Deno.test("encodeResult() prints one family alone, in the oldest shape too", () => {
  const only = { ...RESULT, ips: [RESULT.ips[0]!], routes: [RESULT.routes[0]!] };
  assertEquals(encodeResult(only, "0.2.0"), { cniVersion: "0.2.0", ip6: OLD.ip6 });
  const bare = { ...RESULT, ips: [RESULT.ips[1]!], routes: [] };
  assertEquals(encodeResult(bare, "0.1.0"), {
    cniVersion: "0.1.0",
    ip4: { ip: OLD.ip4.ip, gateway: OLD.ip4.gateway },
  });
});

Deno.test("decodeResult() reads what each version prints", async (t) => {
  for (const version of CNI_VERSIONS) {
    await t.step(version, () => {
      const decoded = decodeResult(SHAPES[version]);
      const addresses = decoded.ips.map(({ address, gateway }) => ({ address, gateway }));
      assertEquals(addresses, RESULT.ips.map(({ address, gateway }) => ({ address, gateway })));
      assertEquals(decoded.routes, RESULT.routes);
      const expected = version < "0.3.0"
        ? []
        : version === "1.1.0"
        ? RESULT.interfaces
        : INTERFACES;
      assertEquals(decoded.interfaces, expected);
    });
  }
});

Deno.test("decodeResult() goes by the shape, not by the version that is written", () => {
  assertEquals(decodeResult({ ...SHAPES["0.2.0"], cniVersion: "1.1.0" }).ips.length, 2);
  assertEquals(decodeResult({ ...SHAPES["1.1.0"], cniVersion: "0.1.0" }).interfaces.length, 2);
  assertEquals(decodeResult({}), { interfaces: [], ips: [], routes: [], dns: undefined });
  // Go prints a nil slice as null, and an unset text as an empty one.
  assertEquals(
    decodeResult({ interfaces: [{ name: "a", mac: "", sandbox: "" }], ips: null, routes: null }),
    { interfaces: [{ name: "a" }], ips: [], routes: [], dns: undefined },
  );
});

Deno.test("decodeResult() names the field that is wrong", async (t) => {
  const cases: Record<string, unknown> = {
    "prevResult": "text",
    "prevResult.interfaces": { interfaces: {} },
    "prevResult.interfaces[0]": { interfaces: ["eth0"] },
    "prevResult.interfaces[0].name": { interfaces: [{}] },
    "prevResult.interfaces[1].mtu": { interfaces: [{ name: "a" }, { name: "b", mtu: "1500" }] },
    "prevResult.ips": { ips: "10.0.0.1/32" },
    "prevResult.ips[0].address": { ips: [{ address: 7 }] },
    "prevResult.ips[0].interface": { ips: [{ address: "10.0.0.1/32", interface: 2 }] },
    "prevResult.routes[0].dst": { routes: [{ gw: "fe80::1" }] },
    "prevResult.routes[0].gw": { routes: [{ dst: "::/0", gw: {} }] },
    "prevResult.ip4": { ip4: [] },
    "prevResult.ip6.ip": { ip6: {} },
    "prevResult.ip6.routes": { ip6: { ip: "fd00::1/128", routes: 1 } },
  };
  for (const [field, value] of Object.entries(cases)) {
    await t.step(field, () => {
      const error = assertThrows(() => decodeResult(value), CniError);
      assertEquals(error.code, 6);
      assert(error.message.startsWith(`Cannot decode ${field}: `), error.message);
    });
  }
  const long = assertThrows(() => decodeResult({ ips: "x".repeat(1 << 20) }), CniError);
  assert(long.message.length < 300, "a long value is cut");
});

Deno.test("decodeResult() takes back what encodeResult() printed", () => {
  fc.assert(fc.property(someResult(), (result) => {
    const wire = JSON.parse(JSON.stringify(encodeResult(result, "1.1.0")));
    assertEquals(decodeResult(wire), { dns: undefined, ...result });
  }));
});

Deno.test("encodeResult() loses nothing when a result passes through the same version again", () => {
  fc.assert(fc.property(someResult(), fc.constantFrom(...CNI_VERSIONS), (result, version) => {
    const once = encodeResult(result, version);
    assertEquals(encodeResult(decodeResult(once), version), once);
  }));
});

Deno.test("appendResult() puts ours behind an earlier plugin's", () => {
  const earlier: CniResult = {
    interfaces: [{ name: "br0" }, { name: "veth0" }, { name: "net0", sandbox: "/run/netns/x" }],
    ips: [{ address: "192.168.0.2/24", interface: 2 }, { address: "192.168.0.3/24" }],
    routes: [{ dst: "192.168.0.0/16" }],
    dns: { nameservers: ["192.168.0.1"] },
  };
  const appended = appendResult(earlier, RESULT);
  assertEquals(appended.interfaces, [...earlier.interfaces, ...RESULT.interfaces]);
  assertEquals(appended.ips.map((ip) => ip.interface), [2, undefined, 4, 4]);
  assertEquals(appended.routes, [...earlier.routes, ...RESULT.routes]);
  assertEquals(appended.dns, earlier.dns);
  const dns = { domain: "example.org" };
  assertEquals(appendResult(earlier, { ...RESULT, dns }).dns, dns);
  // Each address still points at the interface it pointed at.
  for (const ip of appended.ips.slice(2)) {
    assertEquals(appended.interfaces[ip.interface!]?.name, "eth0");
  }
});

function someResult(): fc.Arbitrary<CniResult> {
  const cidr = fc.oneof(
    fc.ipV4().map((ip) => `${ip}/32`),
    fc.integer({ min: 1, max: 0xffff }).map((n) => `2001:db8::${n.toString(16)}/128`),
  );
  const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(value, { nil: undefined });
  const text = fc.string({ minLength: 1 });
  const some = <T extends object>(value: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
    fc.array(value.map(withoutUndefined), { maxLength: 4 });
  const link = fc.record({
    name: text,
    mac: optional(text),
    mtu: optional(fc.nat()),
    sandbox: optional(text),
  });
  return fc.record({
    interfaces: some(link),
    ips: some(fc.record({ address: cidr, gateway: optional(text) })),
    routes: some(fc.record({ dst: cidr, gw: optional(text), table: optional(fc.nat()) })),
  }).map((result) => ({
    ...result,
    ips: result.ips.map((ip, i) => i < result.interfaces.length ? { ...ip, interface: i } : ip),
  }));
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
}
