import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseRoute } from '../../web/src/router.ts'

it('every conversation has an address of its own, and every other path is another page’s', () => {
  fc.assert(
    fc.property(fc.uuid(), (id) => {
      expect(parseRoute(`/c/${id}`)).toEqual({ page: 'chat', conversationId: id })
    }),
  )
  expect(parseRoute('/')).toEqual({ page: 'chat', conversationId: null })
  expect(parseRoute('/c/../../etc')).toEqual({ page: 'other', path: '/c/../../etc' })
})
