import { wordProblems } from '../task-forms.ts'

export const multiarith = wordProblems({
  name: 'multiarith',
  about: 'word problems of two steps or more',
  source: 'Roy and Roth, 2015. arXiv 1608.01413',
  file: 'multiarith.json',
})
