/**
 * What is counted and timed as it happens. Each is a number bumped; no label here takes a value that a pod
 * or a peer chooses.
 *
 * @module
 */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { type Transition, TRANSITIONS } from "../../core/anycast_transitions.ts";
import { CniError } from "../../core/errors.ts";
import type { AgentHandler } from "../../io/socket.ts";
import { MEMBER_CHANGES, type MemberChange } from "../anycast_members.ts";
import { RELOAD_RESULTS, type ReloadResult } from "../bgp.ts";

/** CNI's verbs that reach the agent; operators' commands are not counted. */
const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS"] as const;
/** Who finds an attachment that nobody detached. */
const LEAK_SOURCES = ["cni_gc", "api", "sandbox", "unfinished"] as const;
export type LeakSource = typeof LEAK_SOURCES[number];

/** What comes of having the packet filter take a change. */
const POLICY_RESULTS = ["success", "failure"] as const;
export type PolicyResult = typeof POLICY_RESULTS[number];

/** Upper bounds in seconds: an ADD takes 5 to 15 ms and is given up after 30 s. */
const REQUEST_BUCKETS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
/** A change is 2 to 5 ms from the kernel. */
const TRANSITION_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
const TURN_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60];
/** A label is 20 ms from the kernel, a table of a thousand policies 2 s. */
const POLICY_BUCKETS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
const RELOAD_BUCKETS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 2, 5];

/** The instruments of one agent. */
export class Instruments {
  readonly #requests: Counter<"command" | "code">;
  readonly #durations: Histogram<"command">;
  readonly #inflight: Gauge;
  readonly #leaks: Counter<"source">;
  readonly #reloads: Counter<"result">;
  readonly #reloadDurations: Histogram;
  readonly #transitions: Histogram<"transition">;
  readonly #memberChanges: Counter<"change">;
  readonly #turns: Histogram<"loop">;
  readonly #gaps: Counter;
  readonly #policyApplies: Histogram<"result">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: "flock_cni_requests_total",
      help: "CNI requests answered, by verb and by the error code of CNI, 0 for success.",
      labelNames: ["command", "code"],
      registers,
    });
    this.#durations = new Histogram({
      name: "flock_cni_request_duration_seconds",
      help: "Time from a CNI request's arrival at the agent to its answer.",
      labelNames: ["command"],
      buckets: REQUEST_BUCKETS,
      registers,
    });
    this.#inflight = new Gauge({
      name: "flock_cni_inflight",
      help: "CNI requests under way.",
      registers,
    });
    this.#leaks = new Counter({
      name: "flock_ipam_leaks_total",
      help: "Attachments released that nobody had detached: found by CNI's GC, " +
        "by their pod's absence from the source of truth, or half made.",
      labelNames: ["source"],
      registers,
    });
    this.#reloads = new Counter({
      name: "flock_bird_reloads_total",
      help: "Attempts to have BIRD use a new configuration.",
      labelNames: ["result"],
      registers,
    });
    this.#reloadDurations = new Histogram({
      name: "flock_bird_reload_duration_seconds",
      help: "Time that writing, checking and loading a configuration of BIRD's took.",
      buckets: RELOAD_BUCKETS,
      registers,
    });
    this.#transitions = new Histogram({
      name: "flock_anycast_transition_seconds",
      help: "Time from hearing of a pod's new state to the kernel having its anycast routes.",
      labelNames: ["transition"],
      buckets: TRANSITION_BUCKETS,
      registers,
    });
    this.#memberChanges = new Counter({
      name: "flock_anycast_member_changes_total",
      help: "Times that a pod began, or ceased, to serve an anycast address.",
      labelNames: ["change"],
      registers,
    });
    this.#turns = new Histogram({
      name: "flock_reconcile_duration_seconds",
      help: "Time that a turn of a loop took, successful or not.",
      labelNames: ["loop"],
      buckets: TURN_BUCKETS,
      registers,
    });
    this.#gaps = new Counter({
      name: "flock_kernel_monitor_gaps_total",
      help: "Times that events of the kernel may have been missed, and everything was read again.",
      registers,
    });
    this.#policyApplies = new Histogram({
      name: "flock_netpol_apply_duration_seconds",
      help:
        "Time from a change that policies rest on to the packet filter's having it, or failing.",
      labelNames: ["result"],
      buckets: POLICY_BUCKETS,
      registers,
    });
    // Present from the start: a rate needs a first value.
    for (const command of VERBS) {
      this.#requests.inc({ command, code: "0" }, 0);
      this.#durations.zero({ command });
    }
    for (const source of LEAK_SOURCES) this.#leaks.inc({ source }, 0);
    for (const result of RELOAD_RESULTS) this.#reloads.inc({ result }, 0);
    for (const result of POLICY_RESULTS) this.#policyApplies.zero({ result });
    for (const change of MEMBER_CHANGES) this.#memberChanges.inc({ change }, 0);
    for (const transition of TRANSITIONS) this.#transitions.zero({ transition });
  }

  /** A handler that answers as another does, and is counted. */
  counting(handler: AgentHandler): AgentHandler {
    return async (request, signal) => {
      const command = VERBS.find((verb) => verb === request.op);
      if (command === undefined) return await handler(request, signal);
      const began = performance.now();
      let code = 0;
      this.#inflight.inc();
      try {
        return await handler(request, signal);
      } catch (error) {
        ({ code } = CniError.from(error));
        throw error;
      } finally {
        this.#inflight.dec();
        this.#requests.inc({ command, code: String(code) });
        this.#durations.observe({ command }, (performance.now() - began) / 1000);
      }
    };
  }

  leak(source: LeakSource): void {
    this.#leaks.inc({ source });
  }

  reload(result: ReloadResult, seconds: number): void {
    this.#reloads.inc({ result });
    this.#reloadDurations.observe(seconds);
  }

  transitions(transitions: readonly Transition[], seconds: number): void {
    for (const transition of transitions) this.#transitions.observe({ transition }, seconds);
  }

  memberChanges(change: MemberChange, count: number): void {
    this.#memberChanges.inc({ change }, count);
  }

  turn(loop: string, seconds: number): void {
    this.#turns.observe({ loop }, seconds);
  }

  /** The packet filter was changed, or could not be. */
  policyApply(result: PolicyResult, seconds: number): void {
    this.#policyApplies.observe({ result }, seconds);
  }

  gap(): void {
    this.#gaps.inc();
  }
}
