import { assertEquals } from "@std/assert";
import type { AnycastAddress } from "../core/anycast.ts";
import { configureLog } from "../log.ts";
import { AnycastMembers } from "./anycast_members.ts";

const lines: string[] = [];
configureLog({ level: "info", format: "json", write: (line) => lines.push(line) });

const DNS = "2001:db8::53";

/** An address with pods; one in brackets is held back. */
function address(text: string, ...pods: readonly string[]): AnycastAddress {
  return {
    address: text,
    legs: [],
    pods: pods.map((pod) =>
      pod.startsWith("(")
        ? { pod: pod.slice(1, -1), weight: 1, heldBack: "it is not Ready" }
        : { pod, weight: 1 }
    ),
  };
}

class Fixture {
  nowMs = 0;
  readonly calls: { readonly call: () => void; readonly atMs: number }[] = [];
  readonly counts = { joined: 0, left: 0 };
  readonly members = new AnycastMembers({
    onChanges: (change, count) => void (this.counts[change] += count),
    now: () => this.nowMs,
    later: (call, ms) => void this.calls.push({ call, atMs: this.nowMs + ms }),
  });

  note(...addresses: readonly AnycastAddress[]): readonly string[] {
    lines.length = 0;
    this.members.note(addresses);
    return this.said();
  }

  wait(ms: number): readonly string[] {
    lines.length = 0;
    this.nowMs += ms;
    for (const { call, atMs } of this.calls.splice(0)) {
      if (atMs <= this.nowMs) call();
      else this.calls.push({ call, atMs });
    }
    return this.said();
  }

  said(): readonly string[] {
    return lines.splice(0).map((line) => {
      const { level, msg, address, was, pods, changes } = JSON.parse(line);
      assertEquals([level, msg], ["info", "Changed pods of anycast address"]);
      return `${address}: ${was} → ${pods}${changes === undefined ? "" : ` (${changes})`}`;
    });
  }
}

Deno.test("AnycastMembers says once who serves an address, and who did", () => {
  const f = new Fixture();
  assertEquals(f.note(address(DNS, "shop/dns-1", "shop/dns-0"), address("10.0.0.1", "a/b")), []);
  assertEquals(f.note(address(DNS, "(shop/dns-0)", "shop/dns-1"), address("10.0.0.1", "a/b")), [
    `${DNS}: shop/dns-0, shop/dns-1 → shop/dns-1`,
  ]);
  assertEquals(f.note(address(DNS, "(shop/dns-0)", "shop/dns-1"), address("10.0.0.1", "a/b")), []);
  assertEquals(f.note(address(DNS, "shop/dns-1")), ["10.0.0.1: a/b → none"]);
  assertEquals(f.note(address(DNS, "shop/dns-1"), address("10.0.0.2", "(a/c)")), []);
  assertEquals(f.note(address(DNS, "shop/dns-1"), address("10.0.0.2", "a/c")), [
    "10.0.0.2: none → a/c",
  ]);
  assertEquals(f.counts, { joined: 1, left: 2 });
});

Deno.test("AnycastMembers writes few lines of a pod that changes again and again, and the last state", () => {
  const f = new Fixture();
  f.note(address(DNS, "a/b"));
  const said: string[] = [];
  // Ten changes a second for a minute, and one more.
  for (let n = 0; n < 601; n++) {
    said.push(...f.note(address(DNS, n % 2 === 0 ? "(a/b)" : "a/b")), ...f.wait(100));
  }
  assertEquals(said.length, 6, said.join("\n"));
  assertEquals(said.slice(0, 4), [
    ...[`${DNS}: a/b → none`, `${DNS}: none → a/b`, `${DNS}: a/b → none`, `${DNS}: none → a/b`],
  ]);
  assertEquals(f.wait(30_000).length, 1);
  assertEquals(f.wait(600_000), []);
  assertEquals(f.counts, { joined: 300, left: 301 });
  assertEquals(f.note(address(DNS, "a/b")), [`${DNS}: none → a/b`]);
});

Deno.test("AnycastMembers names a few of many pods", () => {
  const f = new Fixture();
  f.note();
  const pods = Array.from({ length: 40 }, (_, n) => `a/p${n + 10}`);
  assertEquals(f.note(address(DNS, ...pods)), [
    `${DNS}: none → ${pods.slice(0, 16).join(", ")} and 24 more`,
  ]);
});
