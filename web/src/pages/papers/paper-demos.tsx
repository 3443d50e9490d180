import { Tabs } from '@base-ui/react/tabs'
import { type ComponentType, lazy, Suspense, useEffect, useRef, useState } from 'react'
import { ErrorBoundary } from '../../components/error-boundary.tsx'
import { Mark } from '../../components/mark.tsx'
import { type Demo, demosOf } from '../../demos/index.ts'

const components = new Map<string, ComponentType>()

/** The same component each time: one that is new would begin anew. */
function componentOf({ name, load }: Demo): ComponentType {
  let component = components.get(name)
  if (!component) {
    component = lazy(load)
    components.set(name, component)
  }
  return component
}

/** What of a paper can be tried, where something teaches. Its code and its model come once it is near the view. */
export function PaperDemos({ slug }: { slug: string }) {
  const demos = demosOf(slug)
  const section = useRef<HTMLElement>(null)
  const [isNear, setNear] = useState(false)
  useEffect(() => {
    const { current } = section
    if (!current) return
    const observer = new IntersectionObserver(([entry]) => entry.isIntersecting && setNear(true), {
      rootMargin: '200px',
    })
    observer.observe(current)
    return () => observer.disconnect()
  }, [])

  if (demos.length === 0) return null
  const [only] = demos
  return (
    <section aria-labelledby="demos" ref={section}>
      <h2 id="demos">Try it</h2>
      {demos.length === 1 ? (
        <div className="card demo">
          <h3>{only.title}</h3>
          <DemoBody demo={only} isNear={isNear} />
        </div>
      ) : (
        <Tabs.Root defaultValue={only.name}>
          <Tabs.List className="tabs" aria-label="Demos">
            {demos.map(({ name, title }) => (
              <Tabs.Tab key={name} value={name} className="tab">
                {title}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          {demos.map((demo) => (
            <Tabs.Panel key={demo.name} value={demo.name} tabIndex={-1} className="card demo">
              <DemoBody demo={demo} isNear={isNear} />
            </Tabs.Panel>
          ))}
        </Tabs.Root>
      )}
    </section>
  )
}

function DemoBody({ demo, isNear }: { demo: Demo; isNear: boolean }) {
  const Component = componentOf(demo)
  const waiting = (
    <p className="waiting" aria-busy="true">
      <Mark />
      <span className="visually-hidden">Loading</span>
    </p>
  )
  return (
    <>
      <p className="card-text">{demo.shows}</p>
      <ErrorBoundary>
        <Suspense fallback={waiting}>{isNear ? <Component /> : waiting}</Suspense>
      </ErrorBoundary>
    </>
  )
}
