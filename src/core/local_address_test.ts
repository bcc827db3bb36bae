import { assertEquals } from "@std/assert";
import { formatAddress, parseAddress } from "./cidr.ts";
import type { IpAddress } from "./ip_state.ts";
import { chooseLocalAddress } from "./local_address.ts";

function address(text: string, options: Partial<IpAddress> = {}): IpAddress {
  return {
    family: text.includes(":") ? "ipv6" : "ipv4",
    address: text,
    prefixLength: 64,
    scope: text.startsWith("fe80") ? "link" : "global",
    temporary: false,
    deprecated: false,
    tentative: false,
    ...options,
  };
}

const TEMPORARY = address("2001:db8:25::abcd", { temporary: true });

Deno.test("chooseLocalAddress() stays with an address that the node has", async (t) => {
  const [OLD, NEW] = ["2001:db8:25::11", "2001:db8:25::99"];
  const way = { type: "unicast", dev: "eth0", prefsrc: NEW };
  const both = [{ ifname: "eth0", addresses: [address(OLD), address(NEW)] }];
  const elsewhere = [
    { ifname: "eth0", addresses: [address(NEW)] },
    { ifname: "eth1", addresses: [address(OLD)] },
  ];
  const fleeting = [{
    ifname: "eth0",
    addresses: [address(OLD, { temporary: true }), address(NEW)],
  }];
  const only = [{ ifname: "eth0", addresses: [address(NEW)] }];
  const pod = [{ ifname: "flock0123abcd", addresses: [address(OLD)] }, ...only];
  const established = { established: parseAddress(OLD) };
  const told = { told: parseAddress(OLD) };
  const cases = {
    "established, there": [way, both, established, OLD],
    "established, told another": [way, both, { ...established, told: parseAddress(NEW) }, OLD],
    "established, on another link": [way, elsewhere, established, OLD],
    "established, temporary": [way, fleeting, established, OLD],
    "established, no way at the moment": [undefined, both, established, OLD],
    "established, gone": [way, only, established, NEW],
    "established, gone, no way at the moment": [undefined, only, established, OLD],
    "established, a pod's link has it": [way, pod, established, NEW],
    "established, the way is by a pod's link": [
      { ...way, dev: "flock0123abcd" },
      both,
      established,
      undefined,
    ],
    "only told, there": [way, both, told, OLD],
    "only told, no way at the moment": [undefined, both, told, OLD],
    "only told, the way is by another link": [way, elsewhere, told, NEW],
    "only told, temporary": [way, fleeting, told, NEW],
    "neither": [way, both, {}, NEW],
  } as const;
  for (const [name, [route, links, former, expected]] of Object.entries(cases)) {
    await t.step(name, () => {
      const chosen = chooseLocalAddress(route, links, former);
      assertEquals(chosen && formatAddress(chosen), expected);
    });
  }
});

Deno.test("chooseLocalAddress() takes the kernel's choice unless it is about to go", async (t) => {
  type Case = {
    readonly prefsrc?: string;
    readonly dev?: string;
    readonly type?: string;
    readonly eth0: readonly IpAddress[];
    readonly expected?: string;
  };
  const cases: Readonly<Record<string, Case>> = {
    "permanent": {
      prefsrc: "2001:db8:25::11",
      eth0: [address("2001:db8:25::11")],
      expected: "2001:db8:25::11",
    },
    "IPv4": {
      prefsrc: "198.51.100.11",
      eth0: [address("198.51.100.11", { prefixLength: 24 })],
      expected: "198.51.100.11",
    },
    "temporary: a permanent one of the same subnet": {
      prefsrc: TEMPORARY.address,
      eth0: [TEMPORARY, address("2001:db8:99::11"), address("2001:db8:25::11")],
      expected: "2001:db8:25::11",
    },
    "temporary: a permanent one of the link": {
      prefsrc: TEMPORARY.address,
      eth0: [TEMPORARY, address("fe80::11"), address("fd00::11"), address("2001:db8:99::11")],
      expected: "2001:db8:99::11",
    },
    "deprecated": {
      prefsrc: "2001:db8:25::10",
      eth0: [address("2001:db8:25::10", { deprecated: true }), address("2001:db8:25::11")],
      expected: "2001:db8:25::11",
    },
    "temporary, and the others deprecated, tentative, or of another scope": {
      prefsrc: TEMPORARY.address,
      eth0: [
        TEMPORARY,
        address("2001:db8:25::10", { deprecated: true }),
        address("2001:db8:25::12", { tentative: true }),
        address("fd00::11"),
        address("198.51.100.11"),
      ],
      expected: TEMPORARY.address,
    },
    "temporary unique local": {
      prefsrc: "fd00::abcd",
      eth0: [
        address("fd00::abcd", { temporary: true }),
        address("2001:db8:25::11"),
        address("fd00:1::11"),
      ],
      expected: "fd00:1::11",
    },
    "no source": { eth0: [address("2001:db8:25::11")] },
    "the peer is the node itself": {
      prefsrc: "2001:db8:25::11",
      type: "local",
      dev: "lo",
      eth0: [address("2001:db8:25::11")],
    },
    "the peer is a pod": {
      prefsrc: "2001:db8:25::11",
      dev: "flock0123abcd",
      eth0: [address("2001:db8:25::11")],
    },
    "link-local source": { prefsrc: "fe80::11", eth0: [address("fe80::11")] },
    "source that no link has": { prefsrc: "2001:db8:25::12", eth0: [address("2001:db8:25::11")] },
  };
  for (
    const [name, { prefsrc, dev = "eth0", type = "unicast", eth0, expected }] of Object.entries(
      cases,
    )
  ) {
    await t.step(name, () => {
      const links = [
        { ifname: "flock0123abcd", addresses: [address("169.254.1.1")] },
        { ifname: "eth0", addresses: eth0 },
      ];
      const chosen = chooseLocalAddress({ type, dev, prefsrc }, links);
      assertEquals(chosen && formatAddress(chosen), expected);
    });
  }
});

Deno.test("chooseLocalAddress() finds the source on another link than the route's", () => {
  const links = [
    { ifname: "lo", addresses: [address("2001:db8:1::1", { prefixLength: 128 })] },
    { ifname: "eth0", addresses: [address("fe80::11")] },
  ];
  const chosen = chooseLocalAddress(
    { type: "unicast", dev: "eth0", prefsrc: "2001:db8:1::1" },
    links,
  );
  assertEquals(chosen && formatAddress(chosen), "2001:db8:1::1");
  assertEquals(chooseLocalAddress(undefined, links), undefined);
});
