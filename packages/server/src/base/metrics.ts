/**
 * Counters, gauges and histograms, rendered in the Prometheus text format (version 0.0.4).
 *
 * Invariants: label values come from fixed sets of ours, never from a request, so the number of series
 * is bounded; a counter never goes down.
 *
 * @module
 */
import { assert } from '@affidavit/format'

/** Counts up. */
export interface Counter {
  add(amount?: number): void
}

/** Counts values into buckets by their size. */
export interface Histogram {
  observe(value: number): void
}

/** One family of counters that differ in one label. */
export interface CounterFamily {
  with(labelValue: string): Counter
}

export interface Metrics {
  counter(name: string, help: string): Counter
  counters(name: string, help: string, label: string): CounterFamily
  /** `read` is called whenever the metrics are rendered. */
  gauge(name: string, help: string, read: () => number): void
  /** `bounds` are upper bounds of buckets, rising; one for infinity is added. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram
  /** The text for a scraper. */
  render(): string
}

// Series in one family; a label with more values than this is a bug.
const seriesMax = 64
const namePattern = /^affidavit_[a-z0-9_]+$/

/** Makes an empty registry. */
export function createMetrics(): Metrics {
  const families = new Map<string, () => string>()
  const register = (name: string, help: string, type: string, samples: () => string) => {
    assert(namePattern.test(name) && !families.has(name), `metric ${name} is new and well named`)
    families.set(name, () => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples()}`)
  }
  return {
    counter(name, help) {
      const counter = countUp()
      register(name, help, 'counter', () => `${name} ${counter.value}\n`)
      return counter
    },
    counters(name, help, label) {
      const series = new Map<string, CountUp>()
      register(name, help, 'counter', () =>
        [...series].map(([value, it]) => `${name}{${label}="${value}"} ${it.value}\n`).join(''),
      )
      return { with: (value) => seriesOf(series, name, value) }
    },
    gauge(name, help, read) {
      register(name, help, 'gauge', () => `${name} ${read()}\n`)
    },
    histogram(name, help, bounds) {
      const histogram = buckets(name, bounds)
      register(name, help, 'histogram', histogram.samples)
      return histogram
    },
    render: () => [...families.values()].map((family) => family()).join(''),
  }
}

interface CountUp extends Counter {
  readonly value: number
}

function countUp(): CountUp {
  let value = 0
  return {
    get value() {
      return value
    },
    add(amount = 1) {
      value += amount
    },
  }
}

function seriesOf(series: Map<string, CountUp>, name: string, value: string): Counter {
  const known = series.get(value)
  if (known !== undefined) return known
  assert(
    series.size < seriesMax && /^[\w.-]*$/.test(value),
    `label values of ${name} are few and plain`,
  )
  const counter = countUp()
  series.set(value, counter)
  return counter
}

function buckets(name: string, bounds: readonly number[]) {
  const counts = Array.from({ length: bounds.length + 1 }, () => 0)
  let sum = 0
  return {
    observe(value: number) {
      let at = 0
      while (at < bounds.length && value > (bounds[at] ?? Infinity)) at++
      counts[at] = (counts[at] ?? 0) + 1
      sum += value
    },
    samples() {
      let total = 0
      let text = ''
      for (const [at, count] of counts.entries()) {
        total += count
        text += `${name}_bucket{le="${bounds[at] ?? '+Inf'}"} ${total}\n`
      }
      return `${text}${name}_sum ${sum}\n${name}_count ${total}\n`
    },
  }
}
