/**
 * Truth tables of policies for ingress, over nine pods in three namespaces: the situations that
 * Kubernetes' own network policy tests put a cluster in.
 *
 * @module
 */
import {
  checkMatrix,
  intoXa,
  type MatrixCase,
  matrixNamespaces,
  namespaceLabelled,
  namespaceNamed,
  oneOf,
  podLabelled,
  within,
} from "../../tests/policy_matrix.ts";

const CASES: Readonly<Record<string, MatrixCase>> = {
  "nothing: everything": { policies: {}, expected: () => true },
  "no ingress in a namespace": {
    policies: { "x/p": { podSelector: {}, ingress: [] } },
    expected: ({ to }) => !to.startsWith("x/"),
  },
  "neither ingress nor egress in a namespace": {
    policies: { "x/p": { podSelector: {}, policyTypes: ["Ingress", "Egress"] } },
    expected: ({ from, to }) => !from.startsWith("x/") && !to.startsWith("x/"),
  },
  "from one pod of the same namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ podSelector: podLabelled("b") }] }],
      },
    },
    expected: intoXa((from) => from === "x/b"),
  },
  "to one pod from everybody, the others' ingress denied": {
    policies: {
      "x/deny": { podSelector: {}, policyTypes: ["Ingress"] },
      "x/p": { podSelector: podLabelled("a"), ingress: [{}] },
    },
    expected: ({ to }) => !to.startsWith("x/") || to === "x/a",
  },
  "from pods of all namespaces": {
    policies: {
      "x/p": { podSelector: podLabelled("a"), ingress: [{ from: [{ namespaceSelector: {} }] }] },
    },
    expected: () => true,
  },
  "from another namespace alone": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: namespaceLabelled("y") }] }],
      },
    },
    expected: intoXa(within("y")),
  },
  "from a namespace by the name that it has without anybody labelling it": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: namespaceNamed("y") }] }],
      },
    },
    expected: intoXa(within("y")),
    objects: { namespaces: matrixNamespaces({ x: {}, y: {}, z: {} }) },
  },
  "from all namespaces but one by name": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{
          from: [{
            namespaceSelector: {
              matchExpressions: [{
                key: "kubernetes.io/metadata.name",
                operator: "NotIn",
                values: ["x"],
              }],
            },
          }],
        }],
      },
    },
    expected: intoXa(within("y", "z")),
  },
  "from pods by an expression": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ podSelector: oneOf("pod", "b") }] }],
      },
    },
    expected: intoXa((from) => from === "x/b"),
  },
  "from namespaces by an expression": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: oneOf("ns", "y") }] }],
      },
    },
    expected: intoXa(within("y")),
  },
  "from pods, or from a namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{
          from: [{ podSelector: podLabelled("b") }, { namespaceSelector: namespaceLabelled("y") }],
        }],
      },
    },
    expected: intoXa((from) => from === "x/b" || from.startsWith("y/")),
  },
  "from pods that are in a namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{
          from: [{ podSelector: podLabelled("b"), namespaceSelector: namespaceLabelled("y") }],
        }],
      },
    },
    expected: intoXa((from) => from === "y/b"),
  },
  "from several pods of several namespaces": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{
          from: [{
            podSelector: oneOf("pod", "b", "c"),
            namespaceSelector: {
              matchExpressions: [{ key: "ns", operator: "NotIn", values: ["x"] }],
            },
          }],
        }],
      },
    },
    expected: intoXa((from) => ["y/b", "y/c", "z/b", "z/c"].includes(from)),
  },
  "from any of several pods of the same namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ podSelector: podLabelled("b") }, { podSelector: podLabelled("c") }] }],
      },
    },
    expected: intoXa((from) => ["x/b", "x/c"].includes(from)),
  },
  "from the own namespace alone": {
    policies: { "x/p": { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] } },
    expected: ({ from, to }) => !to.startsWith("x/") || from.startsWith("x/"),
  },
  "from a namespace on one port": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: namespaceLabelled("y") }], ports: [{ port: 81 }] }],
      },
    },
    expected: ({ from, to, protocol, port }) =>
      to !== "x/a" || (from.startsWith("y/") && protocol === "tcp" && port === 81),
  },
  "stacked: each namespace on a port of its own": {
    policies: {
      "x/p1": {
        podSelector: podLabelled("a"),
        ingress: [{ from: [{ namespaceSelector: namespaceLabelled("y") }], ports: [{ port: 81 }] }],
      },
      "x/p2": {
        podSelector: oneOf("pod", "a", "b"),
        ingress: [{ from: [{ namespaceSelector: namespaceLabelled("y") }], ports: [{ port: 80 }] }],
      },
    },
    expected: ({ from, to, protocol, port }) =>
      !["x/a", "x/b"].includes(to) ||
      (from.startsWith("y/") && protocol === "tcp" && (port === 80 || to === "x/a")),
  },
  "stacked: a policy that allows all wins": {
    policies: {
      "x/deny": { podSelector: {}, policyTypes: ["Ingress"] },
      "x/allow": { podSelector: {}, ingress: [{}] },
    },
    expected: () => true,
  },
  "all allowed": {
    policies: { "x/p": { podSelector: {}, ingress: [{}] } },
    expected: () => true,
  },
  "one named port": {
    policies: {
      "x/p": { podSelector: podLabelled("a"), ingress: [{ ports: [{ port: "serve-81-tcp" }] }] },
    },
    expected: ({ to, protocol, port }) => to !== "x/a" || (protocol === "tcp" && port === 81),
  },
  "one named port, from a namespace": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{
          from: [{ namespaceSelector: namespaceLabelled("y") }],
          ports: [{ protocol: "UDP", port: "serve-80-udp" }],
        }],
      },
    },
    expected: ({ from, to, protocol, port }) =>
      to !== "x/a" || (from.startsWith("y/") && protocol === "udp" && port === 80),
  },
  "a named port of another protocol is none": {
    policies: {
      "x/p": { podSelector: podLabelled("a"), ingress: [{ ports: [{ port: "serve-80-udp" }] }] },
    },
    expected: ({ to }) => to !== "x/a",
  },
  "all ports of a protocol": {
    policies: {
      "x/p": { podSelector: podLabelled("a"), ingress: [{ ports: [{ protocol: "UDP" }] }] },
    },
    expected: ({ to, protocol }) => to !== "x/a" || protocol === "udp",
  },
  "SCTP is not TCP": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ ports: [{ protocol: "SCTP", port: 80 }] }],
      },
    },
    expected: ({ to, protocol, port }) => to !== "x/a" || (protocol === "sctp" && port === 80),
  },
  "UDP is not TCP": {
    policies: {
      "x/p": {
        podSelector: podLabelled("a"),
        ingress: [{ ports: [{ protocol: "UDP", port: 81 }] }],
      },
    },
    expected: ({ to, protocol, port }) => to !== "x/a" || (protocol === "udp" && port === 81),
  },
  "a range of ports": {
    policies: {
      "x/p": { podSelector: podLabelled("a"), ingress: [{ ports: [{ port: 80, endPort: 82 }] }] },
    },
    expected: ({ to, protocol, port }) =>
      to !== "x/a" || (protocol === "tcp" && port >= 80 && port <= 82),
    ports: [79, 80, 81, 82, 83],
  },
};

Deno.test("verdict() is the truth table: ingress", async (t) => {
  for (const [name, one] of Object.entries(CASES)) await t.step(name, () => checkMatrix(one));
});
