import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  appName,
  fnv1a32,
  fnv1a64,
  IID_FIELDS,
  type IidValues,
  isReservedIid,
  lastReservedIid,
  layoutIid,
  parseIpAlgo,
} from "./iid.ts";
import type { Pod } from "./objects.ts";
import { fakePod } from "../../tests/fakes/fake_source.ts";

const VALUES: IidValues = {
  namespace: "foobar",
  app: "a",
  image: "nginx:1.27",
  containerId: "c".repeat(64),
};

function podOf(part: Partial<Pod>): Pod {
  return fakePod({ namespace: "ns", name: "web-7d4b9c-x2x9z", uid: "u", ...part });
}

Deno.test("fnv1a32() and fnv1a64() agree with the published vectors", () => {
  const vectors = [
    ["", 0x811c9dc5, 0xcbf29ce484222325n],
    ["a", 0xe40c292c, 0xaf63dc4c8601ec8cn],
    ["foobar", 0xbf9cf968, 0x85944171f73967e8n],
  ] as const;
  for (const [text, hash32, hash64] of vectors) {
    assertEquals(fnv1a32(text), hash32);
    assertEquals(fnv1a64(text), hash64);
  }
});

Deno.test("fnv1a32() hashes UTF-8 bytes when the text is not ASCII", () => {
  // The bytes c3 a9, folded by hand with the definition in modular arithmetic.
  const expected = [0xc3, 0xa9].reduce(
    (hash, byte) => Number((BigInt(hash ^ byte) & 0xffffffffn) * 0x01000193n % (1n << 32n)),
    0x811c9dc5,
  );
  assertEquals(fnv1a32("é"), expected);
});

Deno.test("parseIpAlgo() keeps the order and drops white space and duplicates", () => {
  assertEquals(parseIpAlgo(" app , namespace,app"), ["app", "namespace"]);
});

Deno.test("parseIpAlgo() throws when a field is unknown or empty", () => {
  for (const text of ["", "app,", "App", "random", "namespace;app", "app\0", "x".repeat(1 << 20)]) {
    const error = assertThrows(() => parseIpAlgo(text), SyntaxError, "Cannot parse ip-algo");
    assertEquals((error as Error).message.length < 300, true);
  }
});

Deno.test("appName() finds the workload when the pod has an owner", () => {
  const table: readonly (readonly [Partial<Pod>, string])[] = [
    [{ name: "alone" }, "alone"],
    [
      { owner: { kind: "ReplicaSet", name: "web-7d4b9c", uid: "r" }, templateHash: "7d4b9c" },
      "web",
    ],
    [{ owner: { kind: "ReplicaSet", name: "web-7d4b9c", uid: "r" } }, "web-7d4b9c"],
    [
      { owner: { kind: "ReplicaSet", name: "web7d4b9c", uid: "r" }, templateHash: "7d4b9c" },
      "web7d4b9c",
    ],
    [{ owner: { kind: "ReplicaSet", name: "web", uid: "r" }, templateHash: "" }, "web"],
    [{ owner: { kind: "StatefulSet", name: "db", uid: "s" }, name: "db-0" }, "db"],
    [
      { owner: { kind: "DaemonSet", name: "log-7d4b9c", uid: "d" }, templateHash: "7d4b9c" },
      "log-7d4b9c",
    ],
    [{ owner: { kind: "Job", name: "backup-28", uid: "j" } }, "backup-28"],
  ];
  for (const [part, expected] of table) assertEquals(appName(podOf(part)), expected);
});

Deno.test("layoutIid() gives 5+5+5+1 nibbles when a /64 has three fields", () => {
  const layout = layoutIid(["namespace", "app", "image"], VALUES, 64);
  assertEquals(layout?.parts.map((part) => part.nibbles), [5, 5, 5]);
  const image = fnv1a64("nginx:1.27").toString(16).padStart(16, "0").slice(0, 5);
  assertEquals(layout?.base, BigInt(`0x85944af63d${image}0`));
});

Deno.test("layoutIid() gives earlier fields the remainder when nibbles do not divide", () => {
  const layout = layoutIid(["app", "namespace"], VALUES, 64);
  assertEquals(layout?.parts.map((part) => part.nibbles), [8, 7]);
  assertEquals(layout?.base, 0xaf63dc4c_8594417_0n);
});

Deno.test("layoutIid() leaves the top zero when fields have their greatest width", () => {
  const layout = layoutIid(["namespace"], VALUES, 96);
  assertEquals(layout?.parts.map((part) => part.nibbles), [16]);
  assertEquals(layout?.base, 0x85944171f73967e8_0n);
});

Deno.test("layoutIid() is undefined when nibbles are broken or too few", () => {
  assertEquals(layoutIid(["app"], VALUES, 63), undefined);
  assertEquals(layoutIid(["app"], VALUES, 4), undefined);
  assertEquals(layoutIid(["app", "namespace"], VALUES, 8), undefined);
  assertEquals(layoutIid(["app"], VALUES, 8)?.base, 0xa0n);
  assertEquals(layoutIid([], VALUES, 64), undefined);
});

Deno.test("layoutIid() takes the digest or the container id when image is one or is missing", () => {
  const digest = "0123456789ABCDEF" + "0".repeat(48);
  const digestLayout = layoutIid(["image"], { ...VALUES, image: digest }, 64);
  assertEquals(digestLayout?.base, 0x0123456789abcde_0n);
  for (const image of ["", undefined]) {
    const layout = layoutIid(["image"], { ...VALUES, image, containerId: "c1" }, 64);
    assertEquals(layout?.parts[0]?.text, "c1");
    assertEquals(layout?.base, (fnv1a64("c1") >> 4n) << 4n);
  }
  const named = layoutIid(["image"], { ...VALUES, image: digest + "0" }, 64);
  assertEquals(named?.base, (fnv1a64(digest + "0") >> 4n) << 4n);
});

Deno.test("layoutIid() stays inside the host part for every prefix length", () => {
  fc.assert(fc.property(
    fc.uniqueArray(fc.constantFrom(...IID_FIELDS), { minLength: 1 }),
    fc.string(),
    fc.integer({ min: 8, max: 128 }),
    (fields, text, hostBits) => {
      const layout = layoutIid(fields, { ...VALUES, namespace: text, app: text }, hostBits);
      if (layout === undefined) return hostBits % 4 !== 0 || hostBits / 4 - 1 < fields.length;
      const widths = layout.parts.map((part) => part.nibbles);
      return layout.base >= 0n && layout.base >> BigInt(hostBits) === 0n &&
        layout.base % 16n === 0n && Math.max(...widths) - Math.min(...widths) <= 1 &&
        layout.parts.every((part) => part.value >> BigInt(4 * part.nibbles) === 0n);
    },
  ));
});

Deno.test("isReservedIid() is true exactly at the edges of the RFCs' ranges", () => {
  const reserved = [
    0n,
    0x02005efffe000000n,
    0x02005efffe005213n,
    0x02005efffeffffffn,
    0xfdffffffffffff80n,
    0xfdffffffffffffffn,
  ];
  for (const iid of reserved) assertEquals(isReservedIid(iid), true, iid.toString(16));
  const free = [1n, 0x02005efffdffffffn, 0x02005effff000000n, 0xfdffffffffffff7fn, 1n << 63n];
  for (const iid of free) assertEquals(isReservedIid(iid), false, iid.toString(16));
  assertEquals(lastReservedIid(0xfdffffffffffff81n), 0xfdffffffffffffffn);
});
