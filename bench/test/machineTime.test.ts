import { expect, it } from 'vitest'
import { readMachineTime, stolenShare } from '../harness/measure/machineTime.ts'
import { parseMachineTime } from '../harness/measure/procfs.ts'

it('reads how much of the busy time was stolen, guests not counted twice', () => {
  const text = 'cpu  1975445 19735 278000 2185720 8726 0 14931 86354 100 7\ncpu0 1 2 3 4 5 6 7 8 9 10\n'
  expect(parseMachineTime(text)).toEqual({ busySeconds: 23_744.65, stolenSeconds: 863.54 })
  expect(parseMachineTime('')).toEqual({ busySeconds: 0, stolenSeconds: 0 })
})

it('gives the share between two looks', () => {
  expect(stolenShare({ busySeconds: 100, stolenSeconds: 5 }, { busySeconds: 140, stolenSeconds: 15 })).toBe(0.25)
  expect(stolenShare({ busySeconds: 100, stolenSeconds: 5 }, { busySeconds: 100, stolenSeconds: 5 })).toBeNull()
})

it('does not take a hundredth of a second for a disturbance where little ran', () => {
  expect(stolenShare({ busySeconds: 0, stolenSeconds: 0 }, { busySeconds: 0.25, stolenSeconds: 0.02 })).toBeCloseTo(0.02)
})

it('reads that of this machine', () => {
  const { busySeconds, stolenSeconds } = readMachineTime()
  expect(busySeconds).toBeGreaterThan(0)
  expect(stolenSeconds).toBeLessThan(busySeconds)
})
