import { assertEquals } from "@std/assert";
import { parseSysctls } from "./sysctl.ts";

Deno.test("parseSysctls() reads one value per line, also of links with dots in their names", () => {
  const text = "net/ipv4/conf/eth0.100/rp_filter:0\n" +
    "net/ipv4/tcp_rmem:4096\t131072\t6291456\n" +
    "kernel/random/boot_id:0b5b9a7e-7f3a-4d0e-9d5b-0f5f3c1c7c11\n";
  assertEquals(parseSysctls(text), {
    "net/ipv4/conf/eth0.100/rp_filter": "0",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "kernel/random/boot_id": "0b5b9a7e-7f3a-4d0e-9d5b-0f5f3c1c7c11",
  });
});

Deno.test("parseSysctls() reads nothing from nothing", () => {
  assertEquals(parseSysctls(""), {});
  assertEquals(parseSysctls("\n"), {});
});

Deno.test("parseSysctls() keeps an empty value", () => {
  assertEquals(parseSysctls("kernel/domainname:\n"), { "kernel/domainname": "" });
});
