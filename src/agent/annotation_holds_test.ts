import { assertEquals } from "@std/assert";
import { fakePod } from "../../tests/fakes/fake_source.ts";
import { parseAddress } from "../core/cidr.ts";
import { ANNOTATION_PREFIX } from "../core/config.ts";
import { Ipam } from "../core/ipam.ts";
import type { Pod } from "../core/objects.ts";
import { AnnotationHolds } from "./annotation_holds.ts";

const ANYCAST = "2001:db8:ffff::53";

Deno.test("update() holds what annotations name, and lets go of what none names any more", () => {
  const { ipam, holds } = fixture();
  holds.update([pod("a", { anycast: `${ANYCAST}, 10.244.1.9`, addresses: "10.244.1.8" })]);
  assertEquals(used(ipam, ANYCAST, "10.244.1.9", "10.244.1.8"), [true, true, true]);
  holds.update([pod("a", { anycast: ANYCAST })]);
  assertEquals(used(ipam, ANYCAST, "10.244.1.9", "10.244.1.8"), [true, false, false]);
  holds.update([]);
  assertEquals(used(ipam, ANYCAST), [false]);
});

Deno.test("update() holds an address that several pods name until the last is gone", () => {
  const { ipam, holds } = fixture();
  holds.update([pod("a", { anycast: ANYCAST }), pod("b", { anycast: ANYCAST })]);
  holds.update([pod("b", { anycast: ANYCAST })]);
  assertEquals(used(ipam, ANYCAST), [true]);
  holds.update([]);
  assertEquals(used(ipam, ANYCAST), [false]);
});

Deno.test("update() does not take away what an attachment holds", () => {
  const { ipam, holds } = fixture();
  holds.update([pod("a", { addresses: "10.244.1.8" })]);
  ipam.markUsed(parseAddress("10.244.1.8"));
  holds.update([]);
  assertEquals(used(ipam, "10.244.1.8"), [true]);
});

Deno.test("update() passes over what is no address, and other annotations", () => {
  const { ipam, holds } = fixture();
  holds.update([
    pod("a", { addresses: "x, 10.244.1.8,,300.1.1.1", cidr4: "10.244.1.7/32" }),
    fakePod({ name: "b", annotations: { "example.org/addresses": "10.244.1.6" } }),
  ]);
  assertEquals(used(ipam, "10.244.1.8", "10.244.1.7", "10.244.1.6"), [true, false, false]);
});

function fixture(): { ipam: Ipam; holds: AnnotationHolds } {
  const ipam = new Ipam(() => 0n);
  return { ipam, holds: new AnnotationHolds(ipam) };
}

function pod(name: string, annotations: Readonly<Record<string, string>>): Pod {
  return fakePod({
    name,
    annotations: Object.fromEntries(
      Object.entries(annotations).map(([key, value]) => [ANNOTATION_PREFIX + key, value]),
    ),
  });
}

function used(ipam: Ipam, ...texts: readonly string[]): boolean[] {
  return texts.map((text) => ipam.isUsed(parseAddress(text)));
}
