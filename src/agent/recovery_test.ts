import { assertEquals, assertNotEquals } from "@std/assert";
import { fakePod, FakeSource, mirror } from "../../tests/fakes/fake_source.ts";
import { type Attachment, attachmentKey } from "../core/attachment.ts";
import { parseLinks, parseRoutes } from "../core/ip_state.ts";
import { renderAlias } from "../core/wiring.ts";
import type { NodeKernel } from "../io/ip.ts";
import { completeNames, findAttachment, lostAttachments, recoverAttachments } from "./recovery.ts";

const NOW = new Date("2026-01-02T03:04:05Z");
const LINK = {
  ifname: "flock1a2b3c4d",
  flags: ["UP"],
  mtu: 1400,
  address: "02:f0:1a:2b:3c:4d",
  addr_info: [],
};

function kernel(
  alias: string | undefined,
  routes: readonly Record<string, unknown>[],
): NodeKernel {
  return {
    links: parseLinks([LINK], [{ ifname: LINK.ifname, ifalias: alias }]),
    routes: parseRoutes(routes),
    defaultRoutes: [],
  };
}

const ALIAS = "flock:1:shop/web-0:u-1:c0ffee:eth0";
const on = (dst: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  dst,
  dev: LINK.ifname,
  protocol: "143",
  metric: 16,
  ...more,
});

Deno.test("lostAttachments() rebuilds owner, addresses and MTU from link and routes", () => {
  const [found, ...rest] = lostAttachments(
    kernel(ALIAS, [
      on("10.244.1.2"),
      on("2001:db8:f001::a"),
      on("10.244.1.9"),
      on("203.0.113.200", { gateway: "10.244.1.2", protocol: "144" }),
      {
        dst: "203.0.113.201",
        protocol: "144",
        nexthops: [{ gateway: "10.244.1.7", dev: "other" }, {
          gateway: "10.244.1.2",
          dev: LINK.ifname,
        }],
      },
      on("10.9.9.9", { table: "77" }),
    ]),
    () => false,
    NOW,
  );
  assertEquals(rest, []);
  assertEquals({ ...found, result: undefined }, {
    containerId: "c0ffee",
    ifname: "eth0",
    namespace: "shop",
    podName: "web-0",
    podUid: "u-1",
    hostIfname: LINK.ifname,
    netns: "",
    ip6: "2001:db8:f001::a",
    ip4: "10.244.1.2",
    anycast: ["203.0.113.200", "203.0.113.201"],
    addresses: ["10.244.1.9"],
    state: "committed",
    allocatedAt: "2026-01-02T03:04:05.000Z",
    result: undefined,
  });
  const result = found!.result as { interfaces: { mtu: number }[]; ips: { address: string }[] };
  assertEquals(result.interfaces.map(({ mtu }) => mtu), [1400, 1400]);
  assertEquals(result.ips.map(({ address }) => address), [
    "2001:db8:f001::a/128",
    "10.244.1.2/32",
    "10.244.1.9/32",
  ]);
});

Deno.test("lostAttachments() leaves known attachments and foreign links alone", () => {
  const routes = [on("10.244.1.2")];
  assertEquals(lostAttachments(kernel(ALIAS, routes), (key) => key === "c0ffee/eth0", NOW), []);
  assertEquals(lostAttachments(kernel("uplink to rack 3", routes), () => false, NOW), []);
  assertEquals(lostAttachments(kernel(undefined, routes), () => false, NOW), []);
});

Deno.test("what a long alias had no room for is found again: container by its hash, pod by its UID", async () => {
  const owner = {
    containerId: "c".repeat(200),
    ifname: "eth0",
    namespace: "shop",
    podName: `web-${"x".repeat(249)}`,
    podUid: "hash1",
  };
  const store = new Map<string, Attachment>();
  const kept = {
    get: (key: string) => store.get(key),
    list: () => [...store.values()],
    put: (one: Attachment) => Promise.resolve(void store.set(attachmentKey(one), one)),
  };
  await recoverAttachments(kept, kernel(renderAlias(owner), [on("10.244.1.2")]), NOW);
  assertEquals(findAttachment(kept, owner)?.ip4, "10.244.1.2");
  assertEquals(findAttachment(kept, { ...owner, containerId: "c".repeat(201) }), undefined);
  assertEquals(findAttachment(kept, { ...owner, ifname: "eth1" }), undefined);

  const source = new FakeSource();
  const names = (): string[] => kept.list().map(({ podName }) => podName);
  source.put(fakePod({ namespace: "shop", name: `${owner.podName.slice(0, 252)}y`, uid: "u9" }));
  source.put(fakePod({ namespace: "other", name: owner.podName, uid: "hash1" }));
  await completeNames(kept, source);
  assertEquals(names().length, 1);
  assertNotEquals(names(), [owner.podName]);
  const annotations = mirror("hash1");
  source.put(fakePod({ namespace: "shop", name: owner.podName, uid: "m1", annotations }));
  await completeNames(kept, source);
  assertEquals(names(), [owner.podName]);

  // It is known now, by its whole id too.
  store.clear();
  await kept.put({ ...fakeAttachment, ...owner });
  await recoverAttachments(kept, kernel(renderAlias(owner), []), NOW);
  assertEquals(kept.list().length, 1);
});

const fakeAttachment: Attachment = {
  ...{ containerId: "c", ifname: "eth0", namespace: "shop", podName: "p", podUid: "" },
  hostIfname: LINK.ifname,
  netns: "/run/netns/x",
  state: "committed",
  allocatedAt: NOW.toISOString(),
};
