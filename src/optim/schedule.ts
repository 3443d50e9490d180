/** Learning rates over time. Steps count from 0. */

export type Schedule = (step: number) => number

export interface WarmupOptions {
  /** Steps of linear growth from nearly nothing. Default 0. */
  warmupSteps?: number
}

const warmedUp = (step: number, warmupSteps: number, peak: number, after: Schedule): number =>
  step < warmupSteps ? (peak * (step + 1)) / (warmupSteps + 1) : after(step)

export const constantSchedule =
  (peak: number, { warmupSteps = 0 }: WarmupOptions = {}): Schedule =>
  (step) =>
    warmedUp(step, warmupSteps, peak, () => peak)

interface DecayOptions extends WarmupOptions {
  /** The step at which decay ends. */
  steps: number
  /** What is left then. Default 0. */
  minimum?: number
}

const decayed =
  (
    peak: number,
    { steps, warmupSteps = 0, minimum = 0 }: DecayOptions,
    shape: (progress: number) => number,
  ): Schedule =>
  (step) =>
    warmedUp(step, warmupSteps, peak, () => {
      const progress = Math.min((step - warmupSteps) / Math.max(steps - warmupSteps, 1), 1)
      return minimum + (peak - minimum) * shape(progress)
    })

/** Half a cosine down from the peak (Loshchilov and Hutter, 2016, arXiv 1608.03983, without restarts). */
export const cosineSchedule = (peak: number, options: DecayOptions): Schedule =>
  decayed(peak, options, (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)))

export const linearSchedule = (peak: number, options: DecayOptions): Schedule =>
  decayed(peak, options, (progress) => 1 - progress)

/** Proportional to 1/√step after the warm-up (Vaswani et al., 2017, arXiv 1706.03762, §5.3). */
export const inverseSqrtSchedule =
  (peak: number, { warmupSteps }: { warmupSteps: number }): Schedule =>
  (step) =>
    peak * Math.min((step + 1) / warmupSteps, Math.sqrt(warmupSteps / (step + 1)))

/** Equation 3 of that paper: d_model^−½ · min(step^−½, step · warmup^−1.5), times `factor`, which is 1 there. */
export const transformerSchedule = (
  dModel: number,
  { warmupSteps = 4000, factor = 1 }: { warmupSteps?: number; factor?: number } = {},
): Schedule => inverseSqrtSchedule(factor * (dModel * warmupSteps) ** -0.5, { warmupSteps })
