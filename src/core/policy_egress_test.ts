/**
 * Truth tables of policies for egress and for both directions, and before and after changes, over nine
 * pods in three namespaces.
 *
 * @module
 */
import {
  addressOf,
  checkMatrix,
  type Flow,
  intoXa,
  type MatrixCase,
  matrixNamespaces,
  matrixPods,
  namespaceLabelled,
  outOfXa,
  podLabelled,
  within,
} from "../../tests/policy_matrix.ts";

const CASES: Readonly<Record<string, MatrixCase>> = {
  "none from one pod": {
    policies: { "x/p": { podSelector: podLabelled("a"), policyTypes: ["Egress"] } },
    expected: outOfXa(() => false),
  },
  "none from a namespace": {
    policies: { "x/p": { podSelector: {}, policyTypes: ["Egress"] } },
    expected: ({ from }) => !from.startsWith("x/"),
  },
  "denied to the client, though the server lets it in": {
    policies: {
      "x/client": { podSelector: podLabelled("a"), policyTypes: ["Egress"] },
      "y/server": {
        podSelector: podLabelled("b"),
        ingress: [{
          from: [{ namespaceSelector: namespaceLabelled("x"), podSelector: podLabelled("a") }],
        }],
      },
    },
    expected: ({ from, to }) => from !== "x/a" && to !== "y/b",
  },
  "to a pod of another namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{
          to: [{ namespaceSelector: namespaceLabelled("y"), podSelector: podLabelled("a") }],
        }],
      },
    },
    expected: outOfXa((to) => to === "y/a"),
  },
  "to pods of the own namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{ to: [{ podSelector: {} }] }],
      },
    },
    expected: outOfXa(within("x")),
  },
  "one named port": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{ ports: [{ port: "serve-80-tcp" }] }],
      },
    },
    expected: ({ from, protocol, port }) => from !== "x/a" || (protocol === "tcp" && port === 80),
  },
  "a policy that allows all wins": {
    policies: {
      "x/deny": { podSelector: {}, policyTypes: ["Egress"] },
      "x/allow": { podSelector: {}, policyTypes: ["Egress"], egress: [{}] },
    },
    expected: () => true,
  },
  "to a block": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{
          to: [{ ipBlock: { cidr: "10.0.2.0/24" } }, { ipBlock: { cidr: "2001:db8:2::/64" } }],
        }],
      },
    },
    expected: outOfXa(within("y")),
  },
  "to a block of one family": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{ to: [{ ipBlock: { cidr: "0.0.0.0/0" } }] }],
      },
    },
    expected: ({ from, family }) => from !== "x/a" || family === "ipv4",
  },
  "to a block but for one pod": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{
          to: (["ipv4", "ipv6"] as const).map((family) => ({
            ipBlock: {
              cidr: family === "ipv4" ? "10.0.0.0/16" : "2001:db8::/32",
              except: [`${addressOf("y/b", family)}/${family === "ipv4" ? 32 : 128}`],
            },
          })),
        }],
      },
    },
    expected: outOfXa((to) => to !== "y/b"),
  },
  "to what one block leaves out, by another block": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{
          to: [
            { ipBlock: { cidr: "10.0.2.0/24", except: ["10.0.2.2/31"] } },
            { ipBlock: { cidr: "10.0.2.2/32" } },
          ],
        }],
      },
    },
    expected: ({ from, to, family }) =>
      from !== "x/a" || (family === "ipv4" && ["y/a", "y/b"].includes(to)),
  },
  "both directions in one policy": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ from: [{ namespaceSelector: namespaceLabelled("y") }], ports: [{ port: 80 }] }],
        egress: [{ ports: [{ port: 81 }] }],
      },
    },
    expected: ({ from, to, protocol, port }) =>
      (to !== "x/a" || (from.startsWith("y/") && protocol === "tcp" && port === 80)) &&
      (from !== "x/a" || (protocol === "tcp" && port === 81)),
  },
  "ingress and egress each by a policy of its own": {
    policies: {
      "x/in": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ podSelector: podLabelled("b") }] }],
      },
      "x/out": {
        podSelector: podLabelled("a"),
        policyTypes: ["Egress"],
        egress: [{ to: [{ podSelector: podLabelled("c") }] }],
      },
    },
    expected: ({ from, to }) =>
      (to !== "x/a" || from === "x/b") && (from !== "x/a" || to === "x/c"),
  },
};

/** The same policies before and after something else changed. */
const CHANGES: Readonly<Record<string, readonly MatrixCase[]>> = {
  "a policy is updated": [
    { policies: { "x/p": { podSelector: {}, ingress: [{}] } }, expected: () => true },
    {
      policies: { "x/p": { podSelector: {}, ingress: [] } },
      expected: ({ to }) => !to.startsWith("x/"),
    },
  ],
  "a policy is deleted": [
    {
      policies: { "x/p": { podSelector: {}, policyTypes: ["Ingress", "Egress"] } },
      expected: ({ from, to }) => !from.startsWith("x/") && !to.startsWith("x/"),
    },
    { policies: {}, expected: () => true },
  ],
  "a namespace gets the label that is let in": ["y", "z"].map((chosen) => ({
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "ours" } } }] }],
      },
    },
    expected: intoXa(within(chosen)),
    objects: { namespaces: matrixNamespaces({ [chosen]: { team: "ours" } }) },
  })),
  "a pod gets the label that is let in, and loses it": [["x/b"], ["x/b", "x/c"], []].map((all) => ({
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ podSelector: { matchLabels: { role: "client" } } }] }],
      },
    },
    expected: intoXa((from) => all.includes(from)),
    objects: {
      pods: matrixPods(Object.fromEntries(all.map((id) => [id, { role: "client" }]))),
    },
  })),
  "a pod gets the label that policies select, and loses it": [["x/a"], ["x/b"], []].map((all) => ({
    policies: {
      "x/p": { podSelector: { matchLabels: { guarded: "yes" } }, policyTypes: ["Ingress"] },
    },
    expected: ({ to }: Flow) => !all.includes(to),
    objects: {
      pods: matrixPods(Object.fromEntries(all.map((id) => [id, { guarded: "yes" }]))),
    },
  })),
};

Deno.test("verdict() is the truth table: egress and both directions", async (t) => {
  for (const [name, one] of Object.entries(CASES)) await t.step(name, () => checkMatrix(one));
});

Deno.test("verdict() is the truth table before and after a change", async (t) => {
  for (const [name, cases] of Object.entries(CHANGES)) {
    await t.step(name, () => cases.forEach(checkMatrix));
  }
});
