() => {
  // The person's choice of light or dark outlives a reload; without one, the system's holds.
  const key = 'lora-workbench.theme';
  const chosen = localStorage.getItem(key);
  if (chosen) document.body.classList.toggle('dark', chosen === 'dark');
  document.addEventListener('click', (event) => {
    if (!event.target.closest('.theme-switch')) return;
    const dark = document.body.classList.toggle('dark');
    localStorage.setItem(key, dark ? 'dark' : 'light');
  });
}
