import { assert, assertEquals } from "@std/assert";
import { attachment, linkName, snapshot } from "../../tests/attachments.ts";
import { parsePrefix } from "./cidr.ts";
import { desiredState, type Snapshot } from "./desired_state.ts";
import { nexthopKey, type OwnObject, type OwnState, routeKey } from "./own_objects.ts";
import { ownState } from "./own_state.ts";
import { compareRoutes, confirmed, differencesOf, type RouteFacts } from "./route_comparison.ts";

const ANY = "2001:db8:ffff::53";
const DST = `${ANY}/128`;
const NODE = "2001:db8:f001::/64";
const POD = "2001:db8:f001::1/128";
const PEER = "2001:db8:25::1";
const PODS = [1, 2].map((n) => attachment(n, { ip6: `2001:db8:f001::${n}`, anycast: [ANY] }));
const KEY = routeKey("ipv6", DST, 16);

const desired = desiredState(
  snapshot(PODS, { nodePrefixes: [parsePrefix(NODE)] } as Partial<Snapshot>),
);
const wanted = ownState(desired, new Map(), { foreignIds: new Set(), sticky: true });

function route(dst: string, protocol: string, change = {}) {
  return { dst, type: "unicast", protocol, preference: 210, best: true, ...change };
}

const BIRD = {
  routes: [route(NODE, "flock_node6"), route(DST, "flock_kernel6")],
  exports: [{ peer: PEER, family: "ipv6" as const, prefixes: new Set([NODE, DST]) }],
};

function compare(change: Partial<RouteFacts> = {}) {
  return compareRoutes({
    wanted,
    present: wanted,
    isPending: () => false,
    attachments: PODS,
    anycast: desired.anycast,
    bird: BIRD,
    ...change,
  });
}

function changed(key: string, change: Partial<OwnObject> | undefined): OwnState {
  const present = new Map(wanted);
  const object = present.get(key);
  assert(object !== undefined, key);
  if (change === undefined) present.delete(key);
  else present.set(key, { ...object, ...change } as OwnObject);
  return present;
}

Deno.test("compareRoutes() finds no difference where all agree, and says what each route is for", () => {
  const comparison = compare();
  assertEquals(differencesOf(comparison), []);
  assertEquals(
    comparison.items.map(({ dst, purpose, pods, announce, exportedTo }) => [
      dst,
      purpose,
      pods,
      announce,
      exportedTo,
    ]),
    [
      [NODE, "prefix", [], true, [PEER]],
      [DST, "anycast", ["default/p1", "default/p2"], true, [PEER]],
      [POD, "pod", ["default/p1"], false, []],
      ["2001:db8:f001::2/128", "pod", ["default/p2"], false, []],
    ],
  );
  const shared = comparison.items[1]!;
  assertEquals(
    shared.kernel?.nextHops,
    [1, 2].map((n) => `via 2001:db8:f001::${n} dev ${linkName(n)} onlink weight 1`),
  );
  assertEquals(shared.kernel?.groupId, shared.desired?.groupId);
});

Deno.test("compareRoutes() names every way in which what is there is not what is wanted, first of all", () => {
  const group = wanted.get(KEY)!.id!;
  const other = `${DST} dev eth9 proto 144 metric 16`;
  const cases: readonly (readonly [string, Partial<RouteFacts>, string])[] = [
    ["gone", { present: changed(KEY, undefined) }, `${DST}: the kernel does not have it`],
    [
      "another",
      { present: changed(KEY, { text: other, id: undefined }) },
      `${DST}: the kernel has another one: ${other}`,
    ],
    [
      "unwanted",
      {
        wanted: new Map([...wanted].filter(([key]) => key !== KEY)),
        bird: { ...BIRD, routes: BIRD.routes.slice(0, 1) },
      },
      `${DST}: the kernel has it and nothing wants it`,
    ],
    [
      "group",
      { present: changed(nexthopKey(group), { text: `id ${group} group 7,1 proto 144` }) },
      `${DST}: next-hop group ${group} is not as it should be`,
    ],
    [
      "BIRD",
      { bird: { ...BIRD, routes: BIRD.routes.slice(0, 1) } },
      `${DST}: BIRD does not have it`,
    ],
    [
      "not the best",
      { bird: { ...BIRD, routes: [BIRD.routes[0]!, route(DST, "x", { best: false })] } },
      `${DST}: BIRD prefers another route`,
    ],
    [
      "leaked",
      { bird: { ...BIRD, routes: [...BIRD.routes, route(POD, "flock_kernel6")] } },
      `${POD}: BIRD has it and nothing wants it announced`,
    ],
    [
      "stale in BIRD only",
      { bird: { ...BIRD, routes: [...BIRD.routes, route("2001:db8::9/128", "flock_kernel6")] } },
      "2001:db8::9/128: BIRD has it and nothing wants it announced",
    ],
    [
      "not exported",
      { bird: { ...BIRD, exports: [{ ...BIRD.exports[0]!, prefixes: new Set([NODE]) }] } },
      `${DST}: peer ${PEER} is not told of it`,
    ],
  ];
  for (const [name, change, difference] of cases) {
    const comparison = compare(change);
    assertEquals(comparison.items[0]?.differences.length, 1, name);
    assertEquals(differencesOf(comparison)[0], difference, name);
    assertEquals(comparison.items.filter((item) => item.differences.length > 0).length, 1, name);
  }
});

Deno.test("compareRoutes() tells of links' ends and next hops that are not as they should be", () => {
  const end = [...wanted.values()].find(({ text }) => text.startsWith("addr replace fe80::1"))!;
  const { objects } = compare({ present: changed(end.text, undefined) });
  assertEquals(objects, [`link ${end.subject}: the kernel lacks "${end.text}"`]);
});

Deno.test("compareRoutes() leaves alone what is being wired, BIRD that cannot be asked, peers of the other family", () => {
  const key = routeKey("ipv6", POD, 16);
  const isPending = (dev: string): boolean => dev === linkName(1);
  assertEquals(differencesOf(compare({ present: changed(key, undefined), isPending })), []);
  const silent = compare({ bird: undefined });
  assertEquals(differencesOf(silent), []);
  assertEquals(silent.items.map(({ bird }) => bird), [undefined, undefined, undefined, undefined]);
  const other = { peer: "198.51.100.1", family: "ipv4" as const, prefixes: new Set<string>() };
  assertEquals(differencesOf(compare({ bird: { ...BIRD, exports: [other] } })), []);
});

Deno.test("confirmed() tells what was there at both looks, not what came in between", () => {
  const extra = (key: string): OwnState => {
    const { subject, ...rest } = wanted.get(routeKey("ipv6", POD, 16))!;
    return new Map([...wanted, [key, { ...rest, subject: key || subject }]]);
  };
  const [one, two] = ["2001:db8:f001::8/128", "2001:db8:f001::9/128"]
    .map((dst) => compare({ present: extra(dst) }));
  assertEquals([one, two].map((look) => differencesOf(look!).length), [1, 1]);
  assertEquals(confirmed(two!, one!), compare(), "another pod came at each look");
  assertEquals(confirmed(two!, two!), two);
  const lost = compare({ present: changed(routeKey("ipv6", POD, 16), undefined) });
  assertEquals(differencesOf(confirmed(lost, one!)), []);
  assertEquals(confirmed(lost, lost).items[0]?.dst, POD);
});
