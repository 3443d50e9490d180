import { PageFrame } from '../../shell/page-frame.tsx'

export function ArenaPage() {
  return (
    <PageFrame title="Arena">
      <p className="lede">
        Two models will answer one question here, and you will say which did better. It comes with the papers on
        learning from human feedback.
      </p>
    </PageFrame>
  )
}
