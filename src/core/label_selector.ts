/**
 * Selecting by labels (`metav1.LabelSelector`).
 *
 * @module
 */

/** Labels of an object. */
export type Labels = Readonly<Record<string, string>>;

/** One requirement; `matchLabels` are requirements `In` with one value. */
export interface LabelRequirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  /** Empty for `Exists` and `DoesNotExist`. */
  readonly values: readonly string[];
}

/** Requirements that all have to be met; none: everything is selected. */
export type LabelSelector = readonly LabelRequirement[];

/** True when labels meet a selector. `NotIn` is also met by what has no such label. */
export function selects(selector: LabelSelector, labels: Labels): boolean {
  return selector.every(({ key, operator, values }) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "Exists":
        return value !== undefined;
      case "DoesNotExist":
        return value === undefined;
    }
  });
}
