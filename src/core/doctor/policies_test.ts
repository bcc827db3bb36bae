import { assertEquals } from "@std/assert";
import { link, network, sysctls } from "../../../tests/doctor_facts.ts";
import {
  CONNTRACK_COUNT,
  CONNTRACK_MAX,
  judgeConntrack,
  judgeIpvs,
  judgePolicies,
} from "./policies.ts";

Deno.test("judgePolicies() wants them in force, and their table there", () => {
  assertEquals(judgePolicies({ inForce: true, hasTable: true }), []);
  const [failed] = judgePolicies({ inForce: false, error: "Cannot run nft", hasTable: true });
  assertEquals(failed?.finding, "they are not in force: Cannot run nft");
  assertEquals(judgePolicies({ inForce: false, hasTable: false }), []);
  const [gone] = judgePolicies({ inForce: true, hasTable: false });
  assertEquals(gone?.finding, "table inet flock is not there, although the agent made it");
});

Deno.test("judgeConntrack() wants a quarter free", () => {
  const of = (count: string, most: string): readonly string[] =>
    judgeConntrack(sysctls({ [CONNTRACK_COUNT]: count, [CONNTRACK_MAX]: most }))
      .flatMap(({ finding, fix }) => [finding, fix[0]!]);
  assertEquals(of("749", "1000"), []);
  assertEquals(of("750", "1000"), [
    "connection tracking holds 750 of at most 1000 entries",
    "sysctl -w net/netfilter/nf_conntrack_max=4000",
  ]);
  assertEquals(judgeConntrack({}), []);
});

Deno.test("judgeIpvs() tells of the mode whose packets are not forwarded", () => {
  assertEquals(judgeIpvs(network()), []);
  const links = [link("eth0"), link("kube-ipvs0")];
  assertEquals(judgeIpvs(network({ links })).map(({ id }) => id), ["policies-ipvs"]);
});
