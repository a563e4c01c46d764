// On narrow screens the menu opens by keyboard as well, and Escape closes it.
const drawer = document.getElementById("__drawer")
for (const label of document.querySelectorAll('label.md-header__button[for="__drawer"]')) {
  label.tabIndex = 0
  label.setAttribute("role", "button")
  label.setAttribute("aria-label", "Menu")
  label.addEventListener("keydown", event => {
    if (event.key !== " ") return // Enter clicks any focused label, by the theme
    event.preventDefault()
    label.click()
  })
}
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && drawer?.checked) drawer.click()
})
