/**
 * Prints a run for people: tables of figures beside their baselines, and the goals.
 *
 * @module
 */

const missing = '–'

const processorColumns = {
  'CPU µs/request': 'cpuMicros',
  'requests/s a core': 'perCoreSecond',
  'requests/s seen': 'perSecond',
  'p50 µs': 'p50',
  'p99 µs': 'p99',
}
const memoryColumns = {
  'resident bytes a stream': 'streamBytes',
  'held by JavaScript': 'heldBytes',
}
/** Title and columns of each scenario's table, by the scenario's name. */
const layouts = {
  cpu1k: { title: '1 KB requests, closed loop of 32', columns: processorColumns },
  cpu100k: { title: '100 KB requests, closed loop of 32', columns: processorColumns },
  latency: {
    title: 'latency at 500 requests/s, µs (disk: one durable 600-byte append; paced: at 500/s)',
    columns: { p50: 'p50', p90: 'p90', p99: 'p99', 'p99.9': 'p999', 'CPU µs/request': 'cpuMicros' },
  },
  burst: {
    title: 'streams in one burst, closed loop of 32',
    columns: {
      'CPU µs, 20 deltas': 'cpuMicros',
      'CPU µs, 220 deltas': 'longCpuMicros',
      'CPU µs an event': 'eventCpuMicros',
    },
  },
  paced: {
    title: 'streams of 50 deltas, one every 20 ms, 50 open at a time, µs',
    columns: {
      'first byte p50': 'firstByteP50',
      'first byte p99': 'firstByteP99',
      'chunk delay p50': 'chunkP50',
      'chunk delay p99': 'chunkP99',
      'CPU a chunk': 'chunkCpuMicros',
    },
  },
  memory1k: { title: 'memory while streams are open, 1 KB requests', columns: memoryColumns },
  memory100k: { title: 'memory while streams are open, 100 KB requests', columns: memoryColumns },
}

/** A number with three significant digits, or a dash. */
export function figure(value) {
  if (value === null || !Number.isFinite(value)) return missing
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}

/** Prints rows of text under a heading; the first column left-aligned, the others right. */
export function printTable(heading, columns, rows) {
  const all = [columns, ...rows]
  const widths = columns.map((_, column) => Math.max(...all.map((row) => [...row[column]].length)))
  console.log(`\n${heading}`)
  for (const [at, row] of all.entries()) {
    const cells = row.map((cell, column) => {
      const padding = ' '.repeat(widths[column] - [...cell].length)
      return column === 0 ? cell + padding : padding + cell
    })
    console.log(`  ${cells.join('  ')}`)
    if (at === 0) console.log(`  ${widths.map((width) => '─'.repeat(width)).join('  ')}`)
  }
}

/** Prints one scenario: a row per subject, a column per figure. */
export function printScenario(scenario, result) {
  const { title, columns } = layouts[scenario]
  const rows = Object.entries(result).map(([name, figures]) => [
    name,
    ...Object.values(columns).map((key) => figure(figures[key] ?? Number.NaN)),
  ])
  printTable(title, ['', ...Object.keys(columns)], rows)
}

/** Prints the goals with what was measured. */
export function printGoals(goals) {
  const rows = goals.map(({ goal, sign, limit, measured, unit, met }) => [
    goal,
    `${sign} ${figure(limit)} ${unit}`,
    measured === null ? missing : `${figure(measured)} ${unit}`,
    met === null ? 'not measured' : met ? 'met' : 'NOT MET',
  ])
  printTable('goals', ['', 'goal', 'measured', ''], rows)
}
