import { assertEquals } from "@std/assert";
import { parseYamlDocuments } from "../std.ts";
import { secretRole } from "./secret_role.ts";

Deno.test("secretRole() grants one Secret to flock's ServiceAccount, and nothing else", () => {
  const [role, binding] = parseYamlDocuments(
    secretRole({ namespace: "routing", name: "123.bgp", key: "k" }),
  );
  assertEquals(role, {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata: { name: "flock-secret-123.bgp", namespace: "routing" },
    rules: [
      { apiGroups: [""], resources: ["secrets"], resourceNames: ["123.bgp"], verbs: ["get"] },
    ],
  });
  assertEquals(binding, {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name: "flock-secret-123.bgp", namespace: "routing" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "flock-secret-123.bgp" },
    subjects: [{ kind: "ServiceAccount", name: "flock", namespace: "kube-system" }],
  });
});
