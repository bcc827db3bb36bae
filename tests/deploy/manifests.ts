/**
 * The manifests in deploy/, parsed: as much of them as the tests look at.
 *
 * @module
 */
import { ROOT } from "../../scripts/run.ts";
import { parseYamlDocuments } from "../../src/std.ts";

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string; readonly valueFrom?: unknown }[];
  readonly securityContext: {
    readonly privileged?: boolean;
    readonly readOnlyRootFilesystem?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  };
  readonly resources: Readonly<Record<"requests" | "limits", Readonly<Record<string, string>>>>;
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: string[] } } };
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
    readonly mountPropagation?: string;
  }[];
}

export interface Probe {
  readonly httpGet?: { readonly host: string; readonly port: number; readonly path: string };
  readonly exec?: { readonly command: readonly string[] };
  readonly initialDelaySeconds?: number;
}

export interface DaemonSet {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly selector: { readonly matchLabels: unknown };
    readonly updateStrategy: {
      readonly type: string;
      readonly rollingUpdate?: { readonly maxUnavailable: number };
    };
    readonly template: {
      readonly metadata: { readonly labels: unknown };
      readonly spec: {
        readonly serviceAccountName?: string;
        readonly automountServiceAccountToken?: boolean;
        readonly priorityClassName: string;
        readonly nodeSelector: Readonly<Record<string, string>>;
        readonly tolerations: readonly unknown[];
        readonly hostNetwork: boolean;
        readonly hostPID?: boolean;
        readonly terminationGracePeriodSeconds: number;
        readonly initContainers?: readonly Container[];
        readonly containers: readonly Container[];
        readonly volumes: readonly {
          readonly name: string;
          readonly hostPath: { readonly path: string; readonly type: string };
        }[];
      };
    };
  };
}

/** The text of a file in deploy/. */
export async function readManifest(file: string): Promise<string> {
  return await Deno.readTextFile(`${ROOT}/deploy/${file}`);
}

/** The objects in a file in deploy/. */
export async function readObjects<T>(file: string): Promise<readonly T[]> {
  return parseYamlDocuments(await readManifest(file)) as T[];
}

/** The DaemonSet of a file in deploy/. */
export async function readDaemonSet(file: "agent.yaml" | "bird.yaml"): Promise<DaemonSet> {
  const [daemonSet] = await readObjects<DaemonSet>(file);
  return daemonSet!;
}
