/**
 * What an operator applies to let flock read a Secret that `deploy/` does not grant.
 *
 * @module
 */
import type { SecretReference } from "./objects.ts";

/** Who reads it: the ServiceAccount of `deploy/`. */
const SERVICE_ACCOUNT = { name: "flock", namespace: "kube-system" };

/** A Role and its binding, as YAML. Names are those of Kubernetes: they need no quotes but for numbers. */
export function secretRole({ namespace, name }: SecretReference): string {
  const metadata = `metadata: { name: "flock-secret-${name}", namespace: "${namespace}" }`;
  return [
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: Role",
    metadata,
    `rules: [{ apiGroups: [""], resources: ["secrets"], resourceNames: ["${name}"], verbs: ["get"] }]`,
    "---",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: RoleBinding",
    metadata,
    `roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "flock-secret-${name}" }`,
    `subjects: [{ kind: "ServiceAccount", name: "${SERVICE_ACCOUNT.name}", ` +
    `namespace: "${SERVICE_ACCOUNT.namespace}" }]`,
    "",
  ].join("\n");
}
