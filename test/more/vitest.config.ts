import root from '../../vitest.config.ts'

// The extra suites in TypeScript: like the root's tests, but from this folder and one at a time.
export default {
  ...root,
  root: new URL('../..', import.meta.url).pathname,
  test: {
    ...root.test,
    include: ['test/more/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
    maxWorkers: 1,
    // What a suite says about its run (seed, counts, why it skipped) goes to run.mjs as it is.
    disableConsoleIntercept: true,
  },
}
