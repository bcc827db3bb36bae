import { assertEquals } from "@std/assert";
import {
  type ApiPolicySpec,
  type ApiSelector,
  networkPolicy,
  parsePolicy,
} from "../../tests/policy_objects.ts";
import { ruleText, selectorText } from "./policy_words.ts";

function selector(podSelector: ApiSelector): string {
  return selectorText(parsePolicy(networkPolicy("web", "p", { podSelector })).podSelector);
}

function rules(spec: ApiPolicySpec): readonly string[] {
  const { ingress = [], egress = [] } = parsePolicy(networkPolicy("web", "p", spec));
  return [
    ...ingress.map((rule) => ruleText("ingress", rule)),
    ...egress.map((rule) => ruleText("egress", rule)),
  ];
}

Deno.test("selectorText() writes what kubectl's --selector takes", () => {
  assertEquals(selector({}), "");
  assertEquals(selector({ matchLabels: { app: "web", tier: "a" } }), "app=web,tier=a");
  const matchExpressions = [
    { key: "a", operator: "In", values: ["x", "y"] },
    { key: "b", operator: "NotIn", values: ["x"] },
    { key: "c", operator: "NotIn", values: ["x", "y"] },
    { key: "d", operator: "Exists" },
    { key: "e", operator: "DoesNotExist" },
  ] as const;
  assertEquals(selector({ matchExpressions }), "a in (x,y),b!=x,c notin (x,y),d,!e");
  const values = Array.from({ length: 100 }, (_, n) => `value-${n}`);
  const long = selector({ matchExpressions: [{ key: "a", operator: "In", values }] });
  assertEquals([long.length, long.at(-1)], [300, "…"]);
});

Deno.test("ruleText() says who may, and on which ports", () => {
  const podSelector = { matchLabels: { app: "front" } };
  const namespaceSelector = { matchLabels: { team: "a" } };
  assertEquals(
    rules({
      ingress: [
        {},
        { from: [{ podSelector }], ports: [{ port: 80 }] },
        { from: [{ podSelector, namespaceSelector }, { namespaceSelector: {} }] },
        {
          from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.0.0/16"] } }],
          ports: [
            { protocol: "UDP", port: "dns" },
            { protocol: "SCTP" },
            { port: 8000, endPort: 8100 },
          ],
        },
      ],
      policyTypes: ["Ingress", "Egress"],
      egress: [
        { to: [{ podSelector: {} }] },
        { ports: [{ port: 443 }] },
      ],
    }),
    [
      "from everybody, on every port and protocol",
      "from pods app=front of this namespace, on tcp/80",
      "from pods app=front of namespaces team=a or every pod of every namespace, on every port " +
      "and protocol",
      "from 10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16, on udp/dns or sctp or tcp/8000-8100",
      "to every pod of this namespace, on every port and protocol",
      "to everybody, on tcp/443",
    ],
  );
});

Deno.test("ruleText() tells that nothing of a list can be used, and does not tell all of a long one", () => {
  assertEquals(
    rules({ ingress: [{ from: [{ ipBlock: { cidr: "no" } }], ports: [{ port: -1 }] }] }),
    [
      "from nobody: no entry of it can be used, on no port: no entry of it can be used",
    ],
  );
  const ports = Array.from({ length: 23 }, (_, n) => ({ port: n + 1 }));
  const [text] = rules({ egress: [{ ports }] });
  assertEquals(text?.slice(-26), "tcp/19 or tcp/20 or 3 more");
});
