import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { attachment, link, snapshot } from "../../tests/attachments.ts";
import { desiredState } from "./desired_state.ts";
import type { IpNexthop, IpRoute } from "./ip_state.ts";
import { nexthopKey, type OwnState } from "./own_objects.ts";
import { observedState, ownState } from "./own_state.ts";
import { type Change, diffState, renderState, withChanges } from "./state_diff.ts";

const ANY = "2001:db8:ffff::53";
const NEVER = (_dev: string): boolean => false;
const NONE: ReadonlySet<number> = new Set();
const PODS = [1, 2, 3].map((n) =>
  attachment(n, { ip6: `2001:db8:f001::${n}`, ip4: `10.244.1.${n + 1}`, anycast: [ANY] })
);

/** What `ready` pods and the options make of a kernel that has `present`. */
function changesTo(
  ready: readonly number[],
  present: OwnState = new Map(),
  { sticky = true, foreignIds = NONE, isPending = NEVER } = {},
): { wanted: OwnState; changes: readonly Change[] } {
  const pods = PODS.filter((_, i) => ready.includes(i + 1));
  const wanted = ownState(desiredState(snapshot(pods)), present, { foreignIds, sticky });
  return { wanted, changes: diffState(wanted, present, isPending) };
}

function shared(changes: readonly Change[]): string[] {
  return changes.filter(({ object }) => object.kind !== "end")
    .filter(({ object: { kind, subject } }) => kind !== "route" || subject.includes("ffff"))
    .map(({ line }) => line);
}

const HOP = /id (\d+) via 2001:db8:f001::(\d) dev \S+ onlink proto 144/;

Deno.test("diffState() makes objects, group and route, and removes them the other way round", () => {
  const { wanted, changes } = changesTo([1, 2]);
  const lines = shared(changes);
  const ids = lines.slice(0, 2).map((line) => HOP.exec(line)![1]);
  const group = /id (\d+) group/.exec(lines[2]!)![1]!;
  assertEquals(lines.slice(2), [
    `nexthop add id ${group} group ${
      ids.toSorted().map((id) => `${id},1`).join("/")
    } type resilient buckets 512 idle_timer 10 unbalanced_timer 60 proto 144`,
    `route add ${ANY}/128 nhid ${group} proto 144 metric 16`,
  ]);
  assert(Number(ids[0]) >> 16 === 0x666c && Number(group) >> 16 === 0x666d);
  const back = shared(changesTo([], wanted).changes);
  assertEquals(back.slice(0, 2), [
    `route del ${ANY}/128 nhid ${group} proto 144 metric 16`,
    `nexthop del id ${group}`,
  ]);
  assertEquals(back.slice(2).sort(), ids.map((id) => `nexthop del id ${id}`).sort());
});

Deno.test("diffState() changes a group's members and leaves its route alone", () => {
  const { wanted } = changesTo([1, 2, 3]);
  const { changes } = changesTo([1, 3], wanted);
  assertEquals(shared(changes).map((line) => line.replaceAll(/\d{10}/g, "N")), [
    "nexthop replace id N group N,1/N,1 type resilient buckets 512 idle_timer 10 " +
    "unbalanced_timer 60 proto 144",
    "nexthop del id N",
  ]);
});

Deno.test("ownState() finds ids again, without its route too, and skips those of others", () => {
  const first = changesTo([1, 2]).wanted;
  const ids = (state: OwnState): number[] =>
    [...state.values()].filter(({ kind }) => kind === "nexthop" || kind === "group")
      .map(({ id }) => id!).sort();
  const withoutRoute = new Map([...first].filter(([, { kind }]) => kind !== "route"));
  assertEquals(ids(changesTo([1, 2], withoutRoute).wanted), ids(first));
  const foreignIds = new Set(ids(first));
  const others = ids(changesTo([1, 2], new Map(), { foreignIds }).wanted);
  assertEquals(others.filter((id) => foreignIds.has(id)), []);
  // Buckets and type cannot be changed in place: another group, then the route moves.
  const plain = new Map([...first].map(([key, object]) => [
    key,
    object.kind === "group" ? { ...object, text: `${object.text} `, reusable: false } : object,
  ]));
  const moved = shared(changesTo([1, 2], plain).changes);
  assertEquals(moved.map((line) => line.split(" ").slice(0, 2).join(" ")), [
    "nexthop add",
    "route replace",
    "nexthop del",
  ]);
});

Deno.test("ownState() without resilient groups is one route with sorted next hops", () => {
  const options = { sticky: false };
  const two = changesTo([2, 1], new Map(), options);
  assertEquals(shared(two.changes), [
    `route add ${ANY}/128 proto 144 metric 16` +
    " nexthop via 2001:db8:f001::1 dev flock00000001 onlink weight 1" +
    " nexthop via 2001:db8:f001::2 dev flock00000002 onlink weight 1",
  ]);
  assertEquals(shared(changesTo([1], two.wanted, options).changes), [
    `route replace ${ANY}/128 via 2001:db8:f001::1 dev flock00000001 onlink proto 144 metric 16`,
  ]);
});

Deno.test("diffState() does not touch a link that is being wired or torn down", () => {
  const isPending = (dev: string): boolean => dev === "flock00000002";
  const { changes } = changesTo([1, 2], new Map(), { isPending });
  assertEquals(changes.filter(({ line }) => line.includes("flock00000002")), []);
  const { wanted } = changesTo([2]);
  assertEquals(
    changesTo([], wanted, { isPending }).changes
      .filter(({ object }) => object.devs.includes("flock00000002")),
    [],
  );
});

Deno.test("observedState() reads what was made as what was wanted", () => {
  const nexthop = (change: Partial<IpNexthop>): IpNexthop => ({ id: 0, onlink: false, ...change });
  const route = (change: Partial<IpRoute>): IpRoute => ({
    family: "ipv6",
    dst: `${ANY}/128`,
    type: "unicast",
    table: "main",
    protocol: "144",
    metric: 16,
    nextHops: [],
    flags: [],
    ...change,
  });
  const { wanted } = changesTo([1]);
  const [hop, group] = ["nexthop", "group"].map((kind) =>
    [...wanted.values()].find((object) => object.kind === kind)!.id!
  );
  const state = observedState({
    links: [link(1, { up: false, mac: "02:f0:00:00:00:01" })],
    neighbors: [],
    nexthops: [
      nexthop({ id: hop!, gateway: "2001:db8:f001::1", dev: "flock00000001", onlink: true }),
      nexthop({
        id: group!,
        members: [{ id: hop!, weight: 1 }],
        resilient: { buckets: 512, idleTimer: 10, unbalancedTimer: 60 },
      }),
    ],
    routes: [
      route({ nexthopId: group!, gateway: "2001:db8:f001::1", dev: "flock00000001" }),
      // The kernel shows IPv6's unreachable routes on lo; other tables are not ours.
      route({
        dst: "2001:db8:f001::/64",
        type: "unreachable",
        dev: "lo",
        protocol: "143",
        metric: 2000,
      }),
      route({ dst: "2001:db8::9/128", table: "77" }),
    ],
  });
  for (const [key, { text }] of state) assertEquals(text, wanted.get(key)?.text, key);
  assertEquals(state.size, 5);
  for (
    const change of [
      { prefsrc: "2001:db8::1" },
      { gateway: "fe80::2" },
      { dev: "eth0" },
      { protocol: "144" },
      { nextHops: [{ dev: "eth0", weight: 1 }] },
    ]
  ) {
    const mine = { dst: "2001:db8:f001::1/128", protocol: "143", dev: "flock00000001", ...change };
    const { changes } = changesTo(
      [1],
      observedState({
        links: [link(1, { up: false })],
        neighbors: [],
        nexthops: [],
        routes: [route(mine)],
      }),
    );
    assert(
      changes.some(({ line }) =>
        line === "route replace 2001:db8:f001::1/128 dev flock00000001 proto 143 metric 16"
      ),
      JSON.stringify(change),
    );
  }
});

Deno.test("observedState() has no route of a link that went while it was read", () => {
  const { wanted } = changesTo([1]);
  const state = observedState({
    links: [],
    neighbors: [],
    nexthops: [],
    routes: [{
      ...{ family: "ipv4", dst: "10.244.1.2/32", type: "unicast", table: "main", metric: 16 },
      ...{ protocol: "143", dev: "flock00000001", nextHops: [], flags: [] },
    }],
  });
  assert([...wanted.values()].some(({ subject }) => subject === "10.244.1.2/32"));
  assertEquals([...state.keys()], []);
});

Deno.test("renderState() replaces what is there by the same, and adds what is not", () => {
  const { wanted } = changesTo([1, 2]);
  const verbs = (present: OwnState): string[] => [
    ...new Set(
      renderState(wanted, present).flatMap((line) =>
        /^(?:route|nexthop) (\w+)/.exec(line)?.[1] ?? []
      ),
    ),
  ];
  assertEquals(verbs(new Map()), ["add"]);
  assertEquals(verbs(wanted), ["replace"]);
  assertEquals(renderState(wanted, wanted).length, wanted.size);
});

Deno.test("diffState(), applied, gives what was wanted, and a second one is empty", () => {
  const anyReady = fc.uniqueArray(fc.integer({ min: 1, max: 3 }));
  fc.assert(fc.property(
    fc.array(fc.record({ ready: anyReady, sticky: fc.boolean(), lost: fc.nat() }), {
      maxLength: 8,
    }),
    (steps) => {
      let present: OwnState = new Map();
      for (const { ready, sticky, lost } of steps) {
        const { wanted, changes } = changesTo(ready, present, { sticky });
        present = withChanges(present, changes);
        const own = new Map([...present].filter(([, { kind }]) => kind !== "end"));
        assertEquals(new Set(own.keys()), keysOf(wanted));
        for (const [key, { text }] of wanted) assertEquals(present.get(key)?.text, text);
        assertEquals(changesTo(ready, present, { sticky }).changes, []);
        // No group has a member that is not there, no route goes to a group that is not.
        for (const { id, kind } of own.values()) {
          if (id !== undefined) assert(own.has(nexthopKey(id)), `${kind} ${id}`);
        }
        // Somebody takes one away.
        const keys = [...present.keys()];
        if (keys.length > 0) {
          const gone = new Map(present);
          gone.delete(keys[lost % keys.length]!);
          present = gone;
        }
      }
    },
  ));
});

function keysOf(wanted: OwnState): Set<string> {
  return new Set([...wanted].filter(([, { kind }]) => kind !== "end").map(([key]) => key));
}
