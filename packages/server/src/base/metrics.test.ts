import { expect, test } from 'vitest'
import { createMetrics } from './metrics.ts'

test('the text has help, type and samples of every family', () => {
  const metrics = createMetrics()
  const plain = metrics.counter('affidavit_a_total', 'All of a.')
  const labelled = metrics.counters('affidavit_b_total', 'All of b.', 'kind')
  metrics.gauge('affidavit_c', 'Now.', () => 7)
  plain.add()
  plain.add(2)
  labelled.with('x').add()
  expect(labelled.with('x')).toBe(labelled.with('x'))
  expect(metrics.render()).toBe(
    '# HELP affidavit_a_total All of a.\n# TYPE affidavit_a_total counter\naffidavit_a_total 3\n' +
      '# HELP affidavit_b_total All of b.\n# TYPE affidavit_b_total counter\n' +
      'affidavit_b_total{kind="x"} 1\n' +
      '# HELP affidavit_c Now.\n# TYPE affidavit_c gauge\naffidavit_c 7\n',
  )
})

test('buckets are cumulative and the last is infinite', () => {
  const metrics = createMetrics()
  const histogram = metrics.histogram('affidavit_ms', 'Time.', [1, 10])
  for (const value of [0.5, 1, 5, 100]) histogram.observe(value)
  expect(metrics.render()).toContain(
    'affidavit_ms_bucket{le="1"} 2\naffidavit_ms_bucket{le="10"} 3\naffidavit_ms_bucket{le="+Inf"} 4\n' +
      'affidavit_ms_sum 106.5\naffidavit_ms_count 4\n',
  )
})

test('the same name twice, and a label value that could come from a request, are bugs', () => {
  const metrics = createMetrics()
  const family = metrics.counters('affidavit_a_total', 'A.', 'kind')
  expect(() => metrics.counter('affidavit_a_total', 'A.')).toThrow('new and well named')
  expect(() => family.with('a"} 1')).toThrow('plain')
  expect(() => {
    for (let at = 0; at < 100; at++) family.with(`v${at}`)
  }).toThrow('few')
})
