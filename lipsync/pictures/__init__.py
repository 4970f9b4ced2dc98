"""What runs look like side by side: charts, strips of samples, and the page that holds them."""
