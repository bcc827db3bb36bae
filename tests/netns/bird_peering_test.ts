/**
 * What a node's rendered configuration does in the company of a router: a real BIRD on each side of a
 * veth pair, and the kernel tables of both read back.
 *
 * ```
 *   node  198.51.100.11, 2001:db8:25::11 ──eth0──eth0── 198.51.100.1, 2001:db8:25::1  router
 * ```
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type BirdInput, renderBirdConfig } from "../../src/core/bird_config.ts";
import { runCommand } from "../../src/io/command.ts";
import { BIRD_STATES, birdPeer } from "../bird_states.ts";
import { testWith } from "../support.ts";
import { BirdHost, until } from "./bird_host.ts";

const NEEDS = ["root", "bird"] as const;
const NODE = BIRD_STATES.two_peers!;

/** The router's BIRD: writes what it learns into its kernel table, and announces `routes`. */
function routerConfig(routes: string, peers: string): string {
  return `
    log stderr all;
    router id 198.51.100.1;
    protocol device { }
    protocol direct { ipv4; ipv6; }
    protocol bfd { }
    protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
    protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
    protocol static r4 { ipv4; ${routes.split(";").filter((r) => r.includes(".")).join(";")}; }
    protocol static r6 { ipv6; ${routes.split(";").filter((r) => r.includes(":")).join(";")}; }
    template bgp node {
      hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2;
    }
    ${peers}`;
}

/** A channel that takes everything and announces the static routes. */
function channel(family: "ipv4" | "ipv6", more = ""): string {
  return `${family} { import all; export where source = RTS_STATIC; ${more} };`;
}

class Pair implements AsyncDisposable {
  private constructor(readonly node: BirdHost, readonly router: BirdHost) {}

  static async create(): Promise<Pair> {
    const node = await BirdHost.create();
    const router = await BirdHost.create();
    await node.ip(`link add eth0 type veth peer name eth0 netns ${router.netns}
      addr add 198.51.100.11/24 dev eth0
      addr add 2001:db8:25::11/64 dev eth0 nodad
      link set eth0 up
      link add flock00000001 type veth peer name pod
      link set flock00000001 up
      link set pod up
      addr add fe80::1/64 dev flock00000001 nodad`);
    await router.ip(`addr add 198.51.100.1/24 dev eth0
      addr add 2001:db8:25::1/64 dev eth0 nodad
      link set eth0 up`);
    return new Pair(node, router);
  }

  async start(input: BirdInput, router: string, sessions = 2): Promise<void> {
    await this.router.bird(router);
    await this.node.bird(renderBirdConfig(input));
    await this.node.answers();
    await this.node.established(sessions);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.node[Symbol.asyncDispose]();
    await this.router[Symbol.asyncDispose]();
  }
}

/** What BIRD wrote into a kernel table: prefix, next hop and metric. */
async function learned(host: BirdHost): Promise<readonly string[]> {
  const routes = [
    ...await host.ipJson("-6", "route", "show", "proto", "bird"),
    ...await host.ipJson("-4", "route", "show", "proto", "bird"),
  ];
  return routes.map(({ dst, gateway, metric }) => `${dst} via ${gateway} metric ${metric}`).sort();
}

/** Waits for exactly these routes. */
async function learns(host: BirdHost, expected: readonly string[]): Promise<void> {
  let last: readonly string[] = [];
  await until(`routes ${expected.join(", ")}`, async () => {
    last = await learned(host);
    return JSON.stringify(last) === JSON.stringify([...expected].sort());
  }).catch((error) => {
    assertEquals(last, [...expected].sort(), error.message);
  });
}

async function birdc(host: BirdHost, ...words: readonly string[]): Promise<string> {
  return (await runCommand("birdc", ["-s", host.socket, ...words])).stdout;
}

testWith(
  "netns: a node announces its prefixes and allowed host routes, and imports no more than it may",
  NEEDS,
  async () => {
    await using pair = await Pair.create();
    const { node, router } = pair;
    await node.ip(`route add 2001:db8:f001::a/128 dev flock00000001 proto 143 metric 16
    route add 2001:db8:ffff::53/128 via 2001:db8:f001::a dev flock00000001 onlink proto 144 metric 16
    route add 2001:db8:eeee::53/128 dev flock00000001 proto 144 metric 16
    route add 2001:db8:ffff:1::/64 dev flock00000001 proto 144 metric 16
    route add 2001:db8:ffff::54/128 dev flock00000001 proto 99 metric 16
    route add 10.244.1.2/32 dev flock00000001 proto 143 metric 16
    route add 203.0.113.200/32 dev flock00000001 proto 144 metric 16
    route add 10.96.0.1/32 dev flock00000001 proto 144 metric 16`);
    const options = {
      communities: ["65001:100", "65001:1:2"],
      med: 7,
      prepend: 2,
      bfd: { interval: 300, multiplier: 3 },
      password: "a } b; # c",
    };
    const input = {
      ...NODE,
      // The service range is reserved even where the guard would let it through.
      announceAllowed: [...NODE.announceAllowed!, ...NODE.reserved],
      peers: [
        birdPeer("2001:db8:25::1", "2001:db8:25::11", options),
        birdPeer("198.51.100.1", "198.51.100.11", { ...options, importDefaultRoute: true }),
      ],
    };
    await pair.start(
      input,
      routerConfig(
        `route 2001:db8:a::/48 unreachable; route ::/0 unreachable;
       route 2001:db8:25::/64 unreachable; route 2001:db8:25::99/128 unreachable;
       route 2001:db8:f001:0:8000::/65 unreachable; route 2001:db8:f001::b/128 unreachable;
       route 10.9.0.0/16 unreachable; route 0.0.0.0/0 unreachable;
       route 198.51.100.128/25 unreachable; route 10.244.1.0/25 unreachable`,
        `protocol bgp b6 from node { local 2001:db8:25::1 as 65000; neighbor 2001:db8:25::11 as 65001;
         password "a } b; # c"; bfd { interval 300 ms; multiplier 3; }; ${channel("ipv6")} }
       protocol bgp b4 from node { local 198.51.100.1 as 65000; neighbor 198.51.100.11 as 65001;
         password "a } b; # c"; bfd { interval 300 ms; multiplier 3; }; ${channel("ipv4")} }`,
      ),
    );
    await learns(router, [
      "2001:db8:f001::/64 via 2001:db8:25::11 metric 32",
      "2001:db8:ffff::53 via 2001:db8:25::11 metric 32",
      "10.244.1.0/24 via 198.51.100.11 metric 32",
      "203.0.113.200 via 198.51.100.11 metric 32",
    ]);
    await learns(node, [
      "2001:db8:a::/48 via 2001:db8:25::1 metric 32",
      "10.9.0.0/16 via 198.51.100.1 metric 32",
      "default via 198.51.100.1 metric 32",
    ]);
    const route = await birdc(router, "show", "route", "all", "203.0.113.200/32");
    assertStringIncludes(route, "BGP.as_path: 65001 65001 65001\n");
    assertStringIncludes(route, "BGP.med: 7\n");
    assertStringIncludes(route, "BGP.community: (65001,100)\n");
    assertStringIncludes(route, "BGP.large_community: (65001, 1, 2)\n");
    await until("BFD is up", async () => /Up/.test(await birdc(node, "show", "bfd", "sessions")));
    // No kernel route, no announcement, and nobody reloads BIRD for it.
    await node.ip("route del 203.0.113.200/32 proto 144 metric 16");
    await until(
      "withdrawn",
      async () => !(await learned(router)).some((text) => text.startsWith("203.0.113.200")),
    );
  },
);

testWith(
  "netns: an address of this node is announced though the router knows it from another one",
  NEEDS,
  async () => {
    await using pair = await Pair.create();
    await pair.start(
      NODE,
      routerConfig(
        "route 2001:db8:ffff::53/128 unreachable; route 203.0.113.200/32 unreachable",
        `protocol bgp b6 from node { local 2001:db8:25::1 as 65000; neighbor 2001:db8:25::11 as 65001; ${
          channel("ipv6")
        } }
       protocol bgp b4 from node { local 198.51.100.1 as 65000; neighbor 198.51.100.11 as 65001; ${
          channel("ipv4")
        } }`,
      ),
    );
    await learns(pair.node, [
      "2001:db8:ffff::53 via 2001:db8:25::1 metric 32",
      "203.0.113.200 via 198.51.100.1 metric 32",
    ]);
    await pair.node.ip(`route add 2001:db8:ffff::53/128 dev flock00000001 proto 144 metric 16
    route add 203.0.113.200/32 dev flock00000001 proto 144 metric 16`);
    for (const text of ["2001:db8:ffff::53/128", "203.0.113.200/32"]) {
      await until(
        `${text} announced`,
        async () => (await birdc(pair.router, "show", "route", text)).includes("AS65001"),
      );
    }
  },
);

testWith(
  "netns: a node follows next hops of a route reflector on its own link",
  NEEDS,
  async () => {
    await using pair = await Pair.create();
    await pair.start(
      BIRD_STATES.route_reflector!,
      routerConfig(
        `route 10.244.2.0/24 via 198.51.100.12; route 2001:db8:f002::/64 via 2001:db8:25::12`,
        `protocol bgp b6 from node { local 2001:db8:25::1 as 65000; neighbor 2001:db8:25::11 as 65000;
         direct; rr client; ${channel("ipv6")} }
       protocol bgp b4 from node { local 198.51.100.1 as 65000; neighbor 198.51.100.11 as 65000;
         direct; rr client; ${channel("ipv4")} }`,
      ),
    );
    await learns(pair.node, [
      "2001:db8:f002::/64 via 2001:db8:25::12 metric 32",
      "10.244.2.0/24 via 198.51.100.12 metric 32",
    ]);
    await learns(pair.router, [
      "2001:db8:f001::/64 via 2001:db8:25::11 metric 32",
      "10.244.1.0/24 via 198.51.100.11 metric 32",
    ]);
    assertStringIncludes(
      await birdc(pair.router, "show", "route", "all", "10.244.1.0/24"),
      "BGP.local_pref: 200\n",
    );
  },
);

testWith("netns: a node resolves the next hop of a peer several hops away", NEEDS, async () => {
  await using pair = await Pair.create();
  await pair.router.ip("addr add 203.0.113.7/32 dev lo\naddr add 2001:db8:7::7/128 dev lo nodad");
  await pair.node.ip(`route add default via 198.51.100.1
    route add 2001:db8:7::7/128 via 2001:db8:25::1`);
  await pair.start(
    {
      ...NODE,
      peers: [
        birdPeer("2001:db8:7::7", "2001:db8:25::11", { multihop: 2 }),
        birdPeer("203.0.113.7", "198.51.100.11", { multihop: 2 }),
      ],
    },
    routerConfig(
      `route 10.9.0.0/16 unreachable; route 2001:db8:a::/48 unreachable`,
      `protocol bgp b6 from node { local 2001:db8:7::7 as 65000; neighbor 2001:db8:25::11 as 65001;
         multihop 2; ${channel("ipv6")} }
       protocol bgp b4 from node { local 203.0.113.7 as 65000; neighbor 198.51.100.11 as 65001;
         multihop 2; ${channel("ipv4")} }`,
    ),
  );
  await learns(pair.node, [
    "2001:db8:a::/48 via 2001:db8:25::1 metric 32",
    "10.9.0.0/16 via 198.51.100.1 metric 32",
  ]);
  await learns(pair.router, [
    "2001:db8:f001::/64 via 2001:db8:25::11 metric 32",
    "10.244.1.0/24 via 198.51.100.11 metric 32",
  ]);
});

testWith("netns: how a session comes about, and what it is made of", NEEDS, async (t) => {
  await using pair = await Pair.create();
  const { node, router } = pair;
  const port = 1179;
  const routerWith = (options: { readonly b6?: string; readonly b4?: string }): string =>
    routerConfig(
      "route 10.9.0.0/16 unreachable; route 2001:db8:a::/48 unreachable",
      `protocol bgp b6 from node { local 2001:db8:25::1 port ${port} as 65000;
         neighbor 2001:db8:25::11 as 65001; passive on; ${options.b6 ?? ""} ${channel("ipv6")} }
       protocol bgp b4 from node { local 198.51.100.1 as 65000; neighbor 198.51.100.11 as 65001;
         hold time 240; ${options.b4 ?? ""} ${channel("ipv4")} }`,
    );
  const usual = routerWith({ b6: "hold time 240; ttl security on;" });
  await pair.start(
    {
      ...NODE,
      peers: [
        birdPeer("2001:db8:25::1", "2001:db8:25::11", {
          port,
          ttlSecurity: true,
          holdTime: 30,
          keepaliveTime: 4,
          gracefulRestart: { enabled: false, restartTime: 30 },
        }),
        birdPeer("198.51.100.1", "198.51.100.11", { passive: true }),
      ],
    },
    usual,
  );
  const told = (host: BirdHost, name: string): Promise<string> =>
    birdc(host, "show", "protocols", "all", name);
  const node6 = "flock_bgp6_2001_db8_25__1";
  const node4 = "flock_bgp4_198_51_100_1";

  await t.step("the shorter of both hold times, and the node's own keepalive time", async () => {
    for (const [name, hold, keepalive] of [[node6, 30, 4], [node4, 9, 3]] as const) {
      const said = await told(node, name);
      assertMatch(said, new RegExp(`Hold timer: +[\\d.]+/${hold}\n`));
      assertMatch(said, new RegExp(`Keepalive timer: +[\\d.]+/${keepalive}\n`));
    }
    assertMatch(await told(router, "b6"), /Hold timer: +[\d.]+\/30\n/);
    assertMatch(await told(router, "b4"), /Hold timer: +[\d.]+\/9\n/);
  });

  await t.step("graceful restart is offered with 30 s, or not at all", async () => {
    const offered = async (name: string): Promise<string> =>
      (await told(router, name)).split("Neighbor capabilities")[1] ?? "";
    assertMatch(await offered("b4"), /Graceful restart\n +Restart time: 30\n/);
    assertMatch(await offered("b6"), /4-octet AS numbers\n/);
    assert(!/Graceful restart\n/.test(await offered("b6")));
  });

  await t.step("a node that is passive does not call a router that waits too", async () => {
    await router.reconfigure(
      routerWith({ b6: "hold time 240; ttl security on;", b4: "passive on;" }),
    );
    for (const [host, name] of [[node, node4], [router, "b4"]] as const) {
      await until(
        `${name} waits`,
        async () => /BGP state: +Passive\n/.test(await told(host, name)),
      );
    }
    await router.reconfigure(usual);
    await node.established(2);
  });

  await t.step("TTL security hears nothing from a router without it", async () => {
    await router.reconfigure(routerWith({ b6: "hold time 240;" }));
    const dropped = await minTtlDrops(node);
    await until("drops at the node", async () => await minTtlDrops(node) > dropped + 1);
    assert(!(await told(node, node6)).includes("Established"));
  });
});

/** Segments that the host's kernel refused for their TTL or hop limit. */
async function minTtlDrops({ netns }: BirdHost): Promise<number> {
  const counter = "TcpExtTCPMinTTLDrop";
  const args = [`--net=/run/netns/${netns}`, "nstat", "-asz", counter];
  const { stdout } = await runCommand("nsenter", args);
  return Number(new RegExp(`${counter} +(\\d+)`).exec(stdout)?.[1]);
}
