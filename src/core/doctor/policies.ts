/**
 * `flock doctor` on policies: whether they are in force, and whether connection tracking, which tells replies
 * from new connections, has room.
 *
 * @module
 */
import { IPVS_LINK, NFT_TABLE } from "../config.ts";
import type { Problem } from "./checks.ts";
import type { NetworkFacts, PolicyFacts } from "./facts.ts";

/** Documentation/networking/nf_conntrack-sysctl.rst of Linux. */
export const CONNTRACK_COUNT = "net/netfilter/nf_conntrack_count";
export const CONNTRACK_MAX = "net/netfilter/nf_conntrack_max";

/** How full is nearly full. */
const NEARLY_FULL = 0.75;

export function judgePolicies({ inForce, error, hasTable }: PolicyFacts): readonly Problem[] {
  if (error !== undefined) {
    return [{
      id: "policies",
      finding: `they are not in force: ${error}`,
      fix: ["flock policies", "flock render nft | nft -c -f -"],
    }];
  }
  // An agent that has not made them yet waits for what it cannot attach pods without either.
  if (hasTable || !inForce) return [];
  return [{
    id: "policies",
    finding: `table inet ${NFT_TABLE} is not there, although the agent made it`,
    fix: ["# the agent makes it again when it hears of it; who deletes it says:", "nft monitor"],
  }];
}

/** In this mode kube-proxy's packets are not forwarded, they are the node's. */
export function judgeIpvs({ links }: NetworkFacts): readonly Problem[] {
  if (!links.some(({ ifname }) => ifname === IPVS_LINK)) return [];
  return [{
    id: "policies-ipvs",
    finding: `there is a link ${IPVS_LINK}: policies do not see packets that go to Services`,
    fix: ["# of kube-proxy's configuration:", "mode: nftables"],
  }];
}

/** Without these sysctls nothing tracks connections, and nothing is full. */
export function judgeConntrack(sysctls: Readonly<Record<string, string>>): readonly Problem[] {
  const [count, most] = [CONNTRACK_COUNT, CONNTRACK_MAX].map((path) =>
    Number(sysctls[path] ?? NaN)
  );
  if (!(count! >= NEARLY_FULL * most!)) return [];
  return [{
    id: "conntrack",
    finding: `connection tracking holds ${count} of at most ${most} entries`,
    fix: [
      `sysctl -w ${CONNTRACK_MAX}=${4 * most!}`,
      `echo '${CONNTRACK_MAX} = ${4 * most!}' >>/etc/sysctl.d/90-flock.conf`,
    ],
  }];
}
