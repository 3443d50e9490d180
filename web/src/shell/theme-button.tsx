import { IconButton } from '../components/icon-button.tsx'
import { useTheme } from '../theme.ts'

export function ThemeButton() {
  const { theme, toggle } = useTheme()
  const other = theme === 'dark' ? 'light' : 'dark'
  return <IconButton icon={theme === 'dark' ? 'sun' : 'moon'} label={`Use the ${other} theme`} onClick={toggle} />
}
