import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { loadConversations } from './conversations.ts'
import { pageHistory } from './router.ts'
import { createPageRouter } from './routes.tsx'
import { loadServed } from './served.ts'

const router = createPageRouter(pageHistory())
void loadServed()
void loadConversations('')

const root = document.getElementById('root')
if (!root) throw new Error('internal: index.html has no #root')
createRoot(root).render(
  <StrictMode>
    <RouterProvider router={router} />
  </StrictMode>,
)
