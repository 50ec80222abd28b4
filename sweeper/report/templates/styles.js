// The page's policy allows no style attributes. plotly writes some, such as those of bold words; by
// the way of scripts, which the policy allows, they have the same effect.
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "style") { this.style.cssText = value; } else { setAttribute.call(this, name, value); }
};
