/** What the types of the table cannot hold. */
import { describe, expect, it } from 'vitest'
import { type Case, type Observed, verdictOf } from './case.ts'
import { areas } from './cases/index.ts'

const cases = Object.values(areas).flat()

const keysOf = (observed: Observed) => (typeof observed === 'string' ? [] : Object.keys(observed))
const differ = (each: Case) => verdictOf(each) === 'differs on purpose'

describe('the table', () => {
  it('has an id of its own for each case, in kebab-case', () => {
    const ids = cases.map(({ id }) => id)
    expect(ids.filter((id, index) => ids.indexOf(id) !== index || !/^[a-z][a-z0-9-]*[a-z0-9]$/.test(id))).toEqual([])
  })

  it('says why wherever the systems differ, and only there', () => {
    expect(cases.filter((each) => differ(each) !== (each.why !== undefined)).map(({ id }) => id)).toEqual([])
  })

  it('looks at the same things on both sides', () => {
    const uneven = cases.filter(({ ours, theirs = ours }) => {
      const [our, their] = [keysOf(ours), keysOf(theirs)]
      return our.length > 0 && their.length > 0 && our.join() !== their.join()
    })
    expect(uneven.map(({ id }) => id)).toEqual([])
  })
})
