/**
 * What operators read of policies. Compared whole: the words and the columns are what people know.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type {
  PolicyExplanation,
  PolicyItem,
  PolicyJudgement,
  PolicyList,
  PolicyPodItem,
} from "../core/policy_inspection.ts";
import { viewInspection } from "./inspect_views.ts";

const NOW = new Date(0);

function view(answer: PolicyList | PolicyExplanation, wide = false): string {
  return viewInspection(answer, { wide, colour: false, now: NOW });
}

/** Lines without what indents them here. */
function lines(text: string): string {
  return text.replace(/^\n/, "").replaceAll(/^ {4}/gm, "").replace(/ *$/, "");
}

function policy(name: string, change: Partial<PolicyItem> = {}): PolicyItem {
  return {
    namespace: "web",
    name,
    uid: `uid-${name}`,
    types: ["Ingress"],
    podSelector: "",
    selects: [],
    problems: [],
    ...change,
  };
}

const ZERO = { packets: 0, bytes: 0 };
const COUNTED = { dropped: ZERO, audited: ZERO };

function pod(name: string, change: Partial<PolicyPodItem> = {}): PolicyPodItem {
  return {
    pod: `web/${name}`,
    hostIfname: `flock-${name}`,
    mode: "enforce",
    ingress: COUNTED,
    egress: COUNTED,
    spoofed: ZERO,
    ...change,
  };
}

const LIST: PolicyList = {
  kind: "PolicyList",
  node: "n1",
  inForce: true,
  items: [
    policy("deny-all", { ingress: [], egress: [], selects: ["a", "b"] }),
    policy("front", {
      podSelector: "app=front",
      selects: ["a"],
      ingress: ["from everybody, on tcp/80", "from 10.0.0.0/8, on every port and protocol"],
      egress: ["to everybody, on udp/53"],
    }),
  ],
  pods: [
    pod("a", {
      ingress: {
        policies: ["deny-all", "front"],
        dropped: { packets: 12, bytes: 720 },
        audited: ZERO,
      },
      egress: { policies: ["deny-all", "front"], ...COUNTED },
      spoofed: { packets: 1, bytes: 84 },
    }),
    pod("b", {
      mode: "audit",
      ingress: { policies: ["a", "b", "c", "d"], policiesOmitted: 2, ...COUNTED },
      egress: {
        policies: [],
        dropped: { packets: 1, bytes: 60 },
        audited: { packets: 2, bytes: 120 },
      },
    }),
    pod("c"),
  ],
};

Deno.test("policies show whom each selects and allows, then what each pod was denied", () => {
  assertEquals(
    view(LIST),
    lines(`
    POLICY        OF PODS    HERE  DIRECTION  ALLOWS
    web/deny-all  every pod  2     ingress    nothing
                                   egress     nothing
    web/front     app=front  1     ingress 1  from everybody, on tcp/80
                                   ingress 2  from 10.0.0.0/8, on every port and protocol
                                   egress     to everybody, on udp/53

    POD    MODE     INGRESS BY      EGRESS BY       DENIED IN  DENIED OUT     SPOOFED
    web/a  enforce  deny-all,front  deny-all,front  12         0              1
    web/b  audit    a,b,c +3        pod not known   0          1 + 2 (audit)  0

    No policy is about 1 other of this node's pods.
    `),
  );
  const wide = view(LIST, true);
  assertStringIncludes(wide, "from everybody, on tcp/80                    uid-front\n");
  assertStringIncludes(wide, "a,b,c,d +2");
  assertStringIncludes(wide, "12 (720 B)");
  assertStringIncludes(wide, "flock-c\n");
});

Deno.test("policies name the link of a pod that has several, or whose name another one has", () => {
  const selected = { ingress: { policies: ["x"], ...COUNTED } };
  const pods = [
    pod("a", selected),
    pod("b", { ...selected, hostIfname: "flock-1" }),
    pod("b", { ...selected, hostIfname: "flock-2", mode: "audit" }),
    // Nothing is to be told of its other link.
    pod("c", selected),
    pod("c", { hostIfname: "flock-3" }),
  ];
  const names = view({ ...LIST, items: [], pods }).split("\n").filter((line) =>
    line.startsWith("web/")
  ).map((line) => line.split(/ {2,}/)[0]);
  assertEquals(names, ["web/a", "web/b (flock-1)", "web/b (flock-2)", "web/c (flock-c)"]);
  assertEquals(view({ ...LIST, items: [], pods }, true).includes("web/b (flock-1)"), false);
});

Deno.test("policies show first what is wrong", () => {
  const problems = ["Cannot use \x1b[2Jspec.ingress[0]: no"];
  const items = [policy("x", { problems, rulesOmitted: 7 })];
  const wrong = { ...LIST, items, pods: [pod("c", { spoofed: undefined })], countersError: "nft" };
  assertEquals(
    view({ ...wrong, inForce: false, error: "Cannot run nft" }),
    lines(`
    This is not in force: Cannot run nft

    POLICY  WHAT CANNOT BE USED, AND ALLOWS NOTHING
    web/x   Cannot use �[2Jspec.ingress[0]: no

    POLICY  OF PODS    HERE  DIRECTION  ALLOWS
    web/x   every pod  0                … and 7 more rules

    No policy is about 1 of this node's pods.

    What was denied cannot be read: nft
    `),
  );
  assertEquals(
    view({ ...LIST, items: [], pods: [], inForce: false }),
    "This is not in force: they are not in the kernel yet\n\nThere is no NetworkPolicy.\n",
  );
});

Deno.test("policies explain shows both directions, and the result", () => {
  const open: PolicyJudgement = { outcome: "open", policies: [], passes: true, text: "open" };
  const denied = { outcome: "denied", policies: ["web/a"], text: "denied" } as const;
  const path = {
    family: "ipv4",
    protocol: "tcp",
    port: 80,
    from: { address: "198.51.100.7" },
    to: { address: "10.0.0.1", pod: "web/a", node: "n1" },
    allowed: false,
    passes: false,
    egress: open,
    ingress: { ...denied, passes: false },
  } as const;
  const node = { address: "198.51.100.11", node: "n1" };
  const answer: PolicyExplanation = {
    kind: "PolicyExplanation",
    node: "n1",
    inForce: true,
    from: "198.51.100.7",
    to: "web/a",
    port: "80",
    passes: false,
    items: [
      path,
      { ...path, passes: true, ingress: { ...denied, passes: true } },
      { ...path, from: node, protocol: "icmp", port: undefined, allowed: true, ingress: open },
    ],
  };
  assertEquals(
    view(answer),
    lines(`
    198.51.100.7 to web/a (10.0.0.1, on n1), tcp/80: denied
                OF            WHAT POLICIES SAY
    ✓  egress   198.51.100.7  open
    ✗  ingress  web/a         denied

    198.51.100.7 to web/a (10.0.0.1, on n1), tcp/80: denied, and passes in audit mode
                OF            WHAT POLICIES SAY
    ✓  egress   198.51.100.7  open
    !  ingress  web/a         denied

    198.51.100.11 (node n1) to web/a (10.0.0.1, on n1), icmp: allowed
                OF       WHAT POLICIES SAY
    ✓  egress   node n1  open
    ✓  ingress  web/a    open
    `),
  );
});
