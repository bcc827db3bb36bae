/**
 * The second half of a chain: the kernel's route, BIRD's, its export filter, and the peers that are told.
 *
 * @module
 */
import { FAMILY_NAMES } from "./cidr.ts";
import { type AddressFacts, listed, type PeerFacts } from "./explain_facts.ts";
import type { Fact } from "./inspection.ts";

/** The route of an address in the kernel; for one that no pod has, where the kernel sends it. */
export function kernelFact({ role, route, toward }: AddressFacts): Fact {
  const { wanted, present, missing, nexthopId, others } = route;
  const data = { wanted, present, missing, nexthopId, others: others.map(({ text }) => text) };
  const fact = (state: Fact["state"], text: string): Fact => ({
    fact: "kernelRoute",
    state,
    text,
    data: toward === undefined ? data : { ...data, toward },
  });
  if (role === "node" || role === "otherNode" || role === "unknown") {
    return toward === undefined
      ? fact("broken", "the kernel has no route that leads there")
      : fact("ok", `the kernel takes: ${toward}`);
  }
  const winner = others.find(({ wins }) => wins);
  if (wanted === undefined) {
    if (present !== undefined) return fact("broken", `flock wants none, but there is: ${present}`);
    const instead = others.length === 0
      ? ""
      : `; somebody else's is there: ${listed(others.map(({ text }) => text))}`;
    return fact("broken", `none, as flock wants none${instead}`);
  }
  if (present === undefined) {
    const why = others.length === 0
      ? "it is not there"
      : `in its place: ${listed(others.map(({ text }) => text))}`;
    return fact("broken", `flock wants ${wanted}; ${why}`);
  }
  if (present !== wanted) return fact("broken", `flock wants ${wanted}; there is ${present}`);
  if (missing.length > 0) {
    return fact("broken", `${wanted}; what it needs is not as it should be: ${listed(missing)}`);
  }
  if (winner !== undefined) return fact("broken", `${wanted}; a better one wins: ${winner.text}`);
  return fact("ok", present);
}

/** What BIRD has of what is to be announced. */
export function birdFact({ announced, address, nodePrefix, bird, family }: AddressFacts): Fact {
  const { error, configError, routes } = bird;
  const fact = (state: Fact["state"], text: string): Fact => ({
    fact: "birdRoute",
    state,
    text,
    data: { announced, routes, error, configError },
  });
  if (error !== undefined) return fact("broken", error);
  const v = family === "ipv6" ? 6 : 4;
  const covered = announced === nodePrefix;
  const source = covered ? `flock_node${v}` : `flock_kernel${v}`;
  const own = routes.find(({ protocol }) => protocol === source);
  const best = routes.find((route) => route.best);
  const older = configError === undefined
    ? ""
    : `; BIRD runs an earlier configuration: ${configError}`;
  if (own === undefined) {
    const heard = routes.length === 0
      ? ""
      : `; what it has is from ${routes.map(({ protocol }) => protocol).join(", ")}`;
    return fact("broken", `BIRD has no route to ${announced} of this node${heard}${older}`);
  }
  if (best !== own) {
    const other = best === undefined ? "none" : `${best.protocol} (${best.preference})`;
    return fact("broken", `BIRD prefers ${other} to ${source} (${own.preference})`);
  }
  const what = covered
    ? `${announced}, the node's prefix, which covers ${address}`
    : `${announced}, learned from the kernel`;
  return fact("ok", `${what}: ${source}, best, preference ${own.preference}${older}`);
}

/** Whether it may pass to the peers: by flock's own rules, and as BIRD's filter decides. */
export function filterFact(facts: AddressFacts): Fact {
  const { announced, nodePrefix, refused, guarded, bird, peers } = facts;
  const rejecting = peers.filter(({ rejected }) => rejected).map(({ peer }) => peer);
  const fact = (state: Fact["state"], text: string): Fact => ({
    fact: "filter",
    state,
    text,
    data: { announced, refused, rejectedFor: rejecting },
  });
  if (refused !== undefined) return fact("broken", `it ${refused}`);
  if (rejecting.length > 0) {
    const why = bird.configError === undefined
      ? "its configuration is not the one that flock wrote"
      : `it runs an earlier configuration: ${bird.configError}`;
    return fact(
      "broken",
      `BIRD's export filter rejects ${announced} for ${rejecting.join(", ")}: ${why}`,
    );
  }
  const why = announced === nodePrefix
    ? `${announced} is the node's own prefix`
    : guarded
    ? "it is inside what may be announced (spec.announce.allowed)"
    : "everything may be announced: spec.announce.allowed is not set";
  return bird.error === undefined
    ? fact("ok", `accepted: ${why}`)
    : fact("unknown", `${why}; BIRD was not asked`);
}

/** Which peers are told, which not, and why. */
export function exportFact({ announced, family, bird, peers }: AddressFacts): Fact {
  const data = { announced, peers: peers.map((peer) => ({ ...peer })) };
  if (peers.length === 0) {
    const text = `no ${FAMILY_NAMES[family]} peer is configured`;
    return { fact: "exported", state: "broken", text, data };
  }
  if (bird.error !== undefined) {
    return { fact: "exported", state: "unknown", text: "BIRD was not asked", data };
  }
  const told = peers.filter(({ exported }) => exported);
  const parts = [
    ...(told.length === 0
      ? []
      : [`${announced} to ${told.map(({ peer, asn }) => `${peer} (AS${asn})`).join(", ")}`]),
    ...peers.filter(({ exported }) => !exported)
      .map((peer) => `not to ${peer.peer}: ${whyNot(peer)}`),
  ];
  return {
    fact: "exported",
    state: told.length === peers.length ? "ok" : "broken",
    text: listed(parts),
    data,
  };
}

function whyNot({ state, since, leftOut, rejected }: PeerFacts): string {
  if (leftOut !== undefined) return leftOut;
  if (state === undefined) return "BIRD's configuration does not have it";
  if (state !== "Established") {
    return `the session is ${state}${since === undefined ? "" : `, since ${since}`}`;
  }
  return rejected ? "the filter rejects it" : "BIRD has nothing to tell it";
}
