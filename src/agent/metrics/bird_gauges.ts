/**
 * What is read of BIRD when metrics are asked for. While BIRD does not answer, what only BIRD knows is
 * absent rather than 0.
 *
 * @module
 */
import { FAMILIES } from "../../core/cidr.ts";
import type { BgpSessions } from "../bgp_sessions.ts";
import type { BgpSpeaker } from "../bgp.ts";
import type { BirdLook, BirdLooks } from "../bird_look.ts";
import type { Adders, Put } from "./gauge_kit.ts";

/** Where the numbers come from. */
export interface BirdGaugeSources {
  readonly speaker: Pick<BgpSpeaker, "state">;
  readonly bird: Pick<BirdLooks, "look">;
  readonly sessions: Pick<BgpSessions, "peers" | "flaps" | "limited" | "unheard">;
}

/** Adds what is known of BIRD. */
export function addBirdGauges(
  { gauge, counter }: Adders,
  { bird, speaker, sessions }: BirdGaugeSources,
): void {
  const looked = (read: (look: BirdLook, put: Put) => void) => async (put: Put): Promise<void> => {
    const look = await bird.look();
    if (look !== undefined) read(look, put);
  };
  gauge({ name: "flock_bird_up", help: "1 when BIRD answers within a second." }, async (put) => {
    put(Number(await bird.look() !== undefined));
  });
  gauge({
    name: "flock_bird_config_applied",
    help: "1 when BIRD runs the configuration that flock wants.",
  }, (put) => put(Number(speaker.state.applied)));
  gauge({
    name: "flock_bird_config_last_good_timestamp_seconds",
    help: "When BIRD last took a configuration, in seconds since 1970; absent before the first.",
  }, (put) => {
    const { lastAppliedAt } = speaker.state;
    if (lastAppliedAt !== undefined) put(lastAppliedAt / 1000);
  });
  gauge(
    {
      name: "flock_route_bird",
      help: "Routes and prefixes of this node that BIRD has to announce.",
      labelNames: ["family"],
    },
    looked(({ own }, put) => {
      put(own.ipv6, { family: "ipv6" });
      put(own.ipv4, { family: "ipv4" });
    }),
  );
  gauge(
    {
      name: "flock_bgp_session_state",
      help: "1 when the BGP session is established, else 0.",
      labelNames: ["peer", "family"],
    },
    looked(({ peers }, put) => {
      for (const { peer, family, established } of peers) put(Number(established), { peer, family });
    }),
  );
  gauge(
    {
      name: "flock_bgp_prefixes",
      help: "Routes accepted from a peer, and told to it.",
      labelNames: ["peer", "family", "direction"],
    },
    looked(({ peers }, put) => {
      for (const { peer, family, imported, exported } of peers) {
        put(imported, { peer, family, direction: "imported" });
        put(exported, { peer, family, direction: "exported" });
      }
    }),
  );
  gauge(
    {
      name: "flock_bfd_session_up",
      help: "1 when the BFD session with a peer that has one is up.",
      labelNames: ["peer"],
    },
    looked(({ peers }, put) => {
      for (const { peer, bfdUp } of peers) if (bfdUp !== undefined) put(Number(bfdUp), { peer });
    }),
  );
  counter({
    name: "flock_bgp_session_flaps_total",
    help: "Times that a session was seen to have gone down; what happens between two looks is one.",
    labelNames: ["peer"],
  }, (put) => {
    for (const [peer, flaps] of sessions.flaps) put(flaps, { peer });
  });
  gauge({
    name: "flock_bgp_import_limit_reached",
    help: "1 when a peer announces more routes than importLimit: those above it are not taken.",
    labelNames: ["peer"],
  }, (put) => {
    for (const { peer } of sessions.peers) put(Number(sessions.limited.includes(peer)), { peer });
  });
  gauge({
    name: "flock_bgp_family_unheard",
    help: "1 when the node has prefixes of a family and no peer takes them.",
    labelNames: ["family"],
  }, (put) => {
    for (const family of FAMILIES) put(Number(sessions.unheard.includes(family)), { family });
  });
}
