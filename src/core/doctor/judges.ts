/**
 * The judges of `flock doctor`: which findings each may have, and which facts it needs.
 *
 * @module
 */
import {
  judgeBfd,
  judgeBird,
  judgeDrops,
  judgeGracefulRestart,
  judgeImportLimits,
  judgePeerIds,
  judgeSessions,
  judgeSpeakers,
} from "./bgp.ts";
import type { CheckId, Problem } from "./checks.ts";
import {
  judgeDesign,
  judgeDesignPath,
  judgeNodeConfigs,
  judgePrefixes,
  judgeRouterIds,
} from "./cluster.ts";
import { type Fact, type Facts, valueOf } from "./facts.ts";
import {
  judgeAcceptRa,
  judgeForwarding,
  judgeLinkAddresses,
  judgeNeighborTable,
  judgeNexthops,
  judgeRpFilter,
  OS_RELEASE,
} from "./kernel.ts";
import {
  judgeAgent,
  judgeClock,
  judgeFeatures,
  judgeKernelVersion,
  judgeRuntime,
  judgeStateDir,
  judgeSynchronized,
  judgeTools,
} from "./machine.ts";
import { judgeMtu, judgeOwnSubnets, judgePeerPaths } from "./paths.ts";
import { judgeConntrack, judgeIpvs, judgePolicies } from "./policies.ts";
import { judgeDhcpcd, judgeLinkFiles, judgeNetworkd, judgeNetworkManager } from "./services.ts";

/** Makes some of the checks. */
export interface Judge {
  readonly ids: readonly CheckId[];
  run(facts: Facts): Fact<readonly Problem[]>;
}

type Known<K extends keyof Facts> = {
  readonly [P in K]: Facts[P] extends Fact<infer T> ? T : never;
};

/** Every judge, in the order of the report. */
export const JUDGES: readonly Judge[] = [
  judge(["forwarding"], ["network", "sysctls"], (f) => judgeForwarding(f.network, f.sysctls)),
  judge(
    ["accept-ra"],
    ["network", "sysctls"],
    (f, all) => judgeAcceptRa(f.network, f.sysctls, valueOf(all.host)),
  ),
  judge(
    ["rp-filter"],
    ["network", "sysctls"],
    (f, all) => judgeRpFilter(f.network, f.sysctls, valueOf(all.peers)),
  ),
  judge(["multipath-hash", "nexthop-compat"], ["sysctls"], (f) => judgeNexthops(f.sysctls)),
  judge(
    ["neighbor-table"],
    ["network", "sysctls"],
    (f) => judgeNeighborTable(f.network, f.sysctls),
  ),
  judge(["link-address"], ["network"], (f) => judgeLinkAddresses(f.network)),
  judge(["networkd-foreign"], ["host"], (f) => judgeNetworkd(f.host)),
  judge(["link-file"], ["host"], (f) => judgeLinkFiles(f.host)),
  judge(["networkmanager"], ["host"], (f) => judgeNetworkManager(f.host)),
  judge(["dhcpcd"], ["host"], (f) => judgeDhcpcd(f.host)),
  judge(
    ["mtu-pods"],
    ["network"],
    (f, all) =>
      judgeMtu(f.network, valueOf(all.config), valueOf(all.peers))
        .filter(({ id }) => id === "mtu-pods"),
  ),
  judge(
    ["mtu-path"],
    ["network", "peers"],
    (f, all) =>
      judgeMtu(f.network, valueOf(all.config), f.peers).filter(({ id }) => id === "mtu-path"),
  ),
  judge(["policies"], ["policies"], (f) => judgePolicies(f.policies)),
  judge(["policies-ipvs"], ["network"], (f) => judgeIpvs(f.network)),
  judge(["conntrack"], ["sysctls"], (f) => judgeConntrack(f.sysctls)),
  judge(["kernel-feature"], ["features"], (f) => judgeFeatures(f.features)),
  judge(
    ["tool-missing", "tool-optional", "tool-version", "tool-newer"],
    ["tools"],
    (f) => judgeTools(f.tools),
  ),
  judge(["tool-version"], ["sysctls"], (f) => judgeKernelVersion(f.sysctls[OS_RELEASE] ?? "")),
  judge(
    ["node-config"],
    ["cluster"],
    (f, all) => judgeNodeConfigs(f.cluster, valueOf(all.nodeName)),
  ),
  judge(["prefix-overlap"], ["cluster"], (f) => judgePrefixes(f.cluster)),
  judge(["router-id"], ["cluster"], (f) => judgeRouterIds(f.cluster)),
  judge(["router-id"], ["bird"], (f) => judgePeerIds(f.bird)),
  judge(["design"], ["config"], (f, all) => judgeDesign(f.config, valueOf(all.cluster))),
  judge(
    ["design-path"],
    ["config", "cluster", "network"],
    (f) => judgeDesignPath(f.config, f.cluster, f.network),
  ),
  judge(
    ["peer-route", "next-hop"],
    ["network", "peers"],
    (f) => judgePeerPaths(f.network, f.peers),
  ),
  judge(["own-subnet"], ["network"], (f) => judgeOwnSubnets(f.network)),
  judge(["speakers"], ["speakers"], (f, all) => judgeSpeakers(f.speakers, valueOf(all.bird))),
  judge(["bird-absent"], [], (_, all) => judgeBird(all.bird, valueOf(all.config))),
  judge(["no-session", "session-down"], ["bird"], (f) => judgeSessions(f.bird)),
  judge(["import-limit"], ["bird"], (f) => judgeImportLimits(f.bird)),
  judge(["graceful-restart"], ["bird"], (f) => judgeGracefulRestart(f.bird)),
  judge(["bfd"], ["bird"], (f, all) => judgeBfd(f.bird, valueOf(all.config))),
  judge(
    ["md5", "ttl-security"],
    ["bird", "tcp"],
    (f, all) => judgeDrops(f.bird, f.tcp, valueOf(all.config)),
  ),
  judge(["clock"], ["clock"], (f, all) => judgeSynchronized(f.clock, valueOf(all.host))),
  judge(["clock-past"], ["clock"], (f) => judgeClock(f.clock)),
  judge(["state-space", "state-permissions"], ["stateDir"], (f) => judgeStateDir(f.stateDir)),
  judge(
    ["conflist-order", "conflist-missing", "plugin", "conflist-versions", "host-ports"],
    ["runtime"],
    (f) => judgeRuntime(f.runtime),
  ),
  judge(["agent-absent"], ["network"], (f, all) => judgeAgent(f.network, all.agent)),
  judge(
    ["agent"],
    ["agent"],
    (f) =>
      f.agent === "" ? [] : [{ id: "agent", finding: f.agent, fix: ["# what the agent logs"] }],
  ),
];

/** A judge; it may also return why it cannot judge. */
function judge<K extends keyof Facts>(
  ids: readonly CheckId[],
  needs: readonly K[],
  run: (known: Known<K>, all: Facts) => readonly Problem[] | string,
): Judge {
  return {
    ids,
    run(facts) {
      const known: Partial<Record<keyof Facts, unknown>> = {};
      for (const need of needs) {
        const fact = facts[need];
        if ("unknown" in fact) return fact;
        known[need] = fact.known;
      }
      const result = run(known as Known<K>, facts);
      return typeof result === "string" ? { unknown: result } : { known: result };
    },
  };
}
