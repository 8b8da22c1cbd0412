import { defineConfig } from 'vitest/config'

/** Tests that start processes are checked after each file for what they left behind. */
const leaveNothing = { setupFiles: ['test/leaveNothing.ts'], pool: 'forks' as const }

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/{core,config,cli,operate,scripts}/**/*.test.ts'], testTimeout: 60_000 } },
      { test: { name: 'nix', include: ['test/nix/**/*.test.ts'], testTimeout: 30_000 } },
      {
        test: {
          name: 'npm',
          include: ['test/npm/**/*.test.ts'],
          maxWorkers: 1,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'bench',
          include: ['bench/test/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          maxWorkers: 1,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'systemd',
          include: ['test/systemd/**/*.test.ts'],
          maxWorkers: 1,
          testTimeout: 120_000,
          hookTimeout: 60_000,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'apps',
          include: ['test/apps/**/*.test.ts'],
          maxWorkers: 1,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'conformance',
          include: ['test/conformance/**/*.test.ts'],
          maxWorkers: 1,
          // The first test starts both systems, and the peer at times more than once.
          testTimeout: 300_000,
          hookTimeout: 60_000,
          ...leaveNothing,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          // Real nodes share two cores: files run one after another, or their deadlines measure each other.
          maxWorkers: 1,
          testTimeout: 180_000,
          hookTimeout: 120_000,
          ...leaveNothing,
        },
      },
    ],
  },
})
